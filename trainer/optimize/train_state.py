"""All that a step changes for good: what a checkpoint holds, a rank gives to others, and a process leaves to the next.

>>> state = TrainState(model=model, optimizer=optimizer)
>>> state.load(checkpoint.load(path))
>>> torch.save(state.to_dict(), path)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from motley.trainer.errors import TrainerError
from motley.trainer.optimize.local_sgd import LocalSgd
from motley.trainer.optimize.local_weights import NONE, LocalWeights
from motley.trainer.optimize.loss_scaler import LossScaler
from motley.trainer.optimize.weight_average import WeightAverage


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainState:
    """The parts are the live ones: who loads into them changes what is trained."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    apart: LocalSgd | None = None  # with run.local_steps above 1
    ema: WeightAverage | None = None  # with run.ema
    scaler: LossScaler | None = None  # with another run.precision than fp32
    local: LocalWeights = NONE  # what every host has by itself: no part of it

    def to_dict(self) -> dict[str, Any]:
        """Tensors and plain values, by reference."""
        return {
            "model": self.local.without(self.model.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "optimizer_class": type(self.optimizer).__name__,
            **({"outer": self.apart.state()} if self.apart is not None else {}),
            **({"ema": self.local.without(self.ema.state())} if self.ema is not None else {}),
            **({"scaler": self.scaler.state()} if self.scaler is not None else {}),
            **({"local": dict(self.local.table)} if self.local.keys else {}),
        }

    def load(self, saved: Mapping[str, Any]) -> None:
        """From `to_dict`; what is not there stays as it is, but an average begins anew.

        What the optimizer is told (weight decay, momentum, …) stays as it is, too: only one rank loads, and the others
        have what is asked for now. Raises TrainerError for the state of another kind of optimizer, and what torch
        raises for one of another shape.
        """
        before, now = saved.get("optimizer_class"), type(self.optimizer).__name__
        if before not in (None, now):
            raise TrainerError(
                f"the checkpoint is of the optimizer {before}, now it is {now}", "Set it back, or start anew"
            )
        self.local.load(self.model, saved["model"])
        told = [{what: value for what, value in one.items() if what != "params"} for one in self.optimizer.param_groups]
        self.optimizer.load_state_dict(saved["optimizer"])
        for group, values in zip(self.optimizer.param_groups, told):
            group.update(values)
        if self.apart is not None and "outer" in saved:
            self.apart.load(saved["outer"])
        if self.ema is not None:
            self.local.load(self.ema.copy, saved["ema"]) if "ema" in saved else self.ema.restart()
        if self.scaler is not None and "scaler" in saved:
            self.scaler.load(saved["scaler"])

    def tensors(self) -> list[Tensor]:
        """Those that are neither the model's nor the optimizer's, for `rank.share_state`."""
        outer = [self.apart.momentum] if self.apart is not None else []
        average = self.ema.tensors() if self.ema is not None else []
        return [*outer, *average, *([self.scaler.figures] if self.scaler is not None else [])]

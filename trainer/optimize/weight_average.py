"""An exponential moving average of the weights: `run.ema` (as torch's `get_ema_multi_avg_fn`).

    average = decay * average + (1 - decay) * weights        after each step

It is evaluated in the weights' place and lies beside them in a checkpoint. Training does not look at it. It begins as
the first weights, so a decay wants several times 1 / (1 - decay) steps before the average is worth something.

    >>> average = WeightAverage(model, decay=0.999)
    >>> average.update()               # after a step
    >>> average.refreshed()            # a model with it
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from motley.trainer.errors import TaskError

_COARSE = (torch.float16, torch.bfloat16)


class WeightAverage:
    """Of `model`, which is given as it is made: nothing may have been hooked to it yet. `copy` has the average.

    Buffers and frozen parameters are not averaged: they are the model's. Raises TaskError for a model that can't be
    copied, or whose weights have too few digits to be averaged.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        trained = [p for p in model.parameters() if p.requires_grad]
        if any(p.dtype in _COARSE for p in trained):
            raise TaskError(
                "run.ema: 16-bit weights have too few digits to be averaged",
                "Keep them in float32; run.precision computes in 16 bits all the same",
            )
        try:
            frozen = {id(p): p for p in model.parameters() if not p.requires_grad}  # there once, however large
            self.copy = copy.deepcopy(model, frozen)
        except (RuntimeError, TypeError) as error:
            raise TaskError(f"run.ema: the model can't be copied ({error})", "Leave run.ema out") from error
        self._average = [p for p in self.copy.parameters() if p.requires_grad]
        self.copy.requires_grad_(False).eval()
        self._model = model
        self._trained = trained
        self._decay = decay

    @torch.no_grad()
    def update(self, steps: int = 1) -> None:
        """The weights have moved on by so many steps."""
        torch._foreach_lerp_(self.tensors(), [p.detach() for p in self._trained], 1 - self._decay**steps)

    def tensors(self) -> list[Tensor]:
        """Of what is trained, in the order of the model's parameters."""
        return [p.detach() for p in self._average]

    @torch.no_grad()
    def refreshed(self) -> nn.Module:
        """A model with the averaged weights, and the buffers that the trained one has now."""
        for mine, now in zip(self.copy.buffers(), self._model.buffers()):
            mine.copy_(now)
        return self.copy

    def state(self) -> dict[str, Any]:
        """For a checkpoint: as the `state_dict` of a model, which it can be loaded into."""
        return self.refreshed().state_dict()

    @torch.no_grad()
    def restart(self) -> None:
        """From the weights as they are now: a checkpoint had no average."""
        for average, weight in zip(self.tensors(), self._trained):
            average.copy_(weight)

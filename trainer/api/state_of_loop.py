"""The state of a user's own loop in one group, and what a checkpoint of it holds.

`model` and `optimizer` are the first of each that `run.prepare` was given, so that any torch program reads them.

>>> state = SessionState(loop=loop, prepared=prepared, …)
>>> checkpoint_if_due(state)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from motley.trainer.api.loop_plan import LoopPlan
from motley.trainer.api.prepared import Prepared
from motley.trainer.training.job import LoopState


def state_of_loop(loop: LoopPlan, prepared: Prepared, *, script: str, step: int) -> dict[str, Any]:
    """`step`: how many are completed in it."""
    return {
        "task": script,
        "step": step,
        "epoch": step // loop.batches.steps_per_epoch,
        "global_batch": loop.batches.global_batch,
        "seed": loop.batches.seed,
        **prepared.state(),
    }


@dataclass(slots=True, kw_only=True)
class SessionState(LoopState):
    """What one rank trains with in one group."""

    loop: LoopPlan
    prepared: Prepared

    def weights(self) -> Iterable[Tensor]:
        return self.prepared.parameters()

    def averaged(self) -> None:
        """The averaged gradient is in place; a GradScaler, where there is one, has not seen it yet."""
        self.aside_s = 0.0
        if self.rank == 0:
            self.aside_s = self.recorder.gradient(self, scale=self.prepared.scale) or 0.0

    def content(self) -> dict[str, Any]:
        return state_of_loop(self.loop, self.prepared, script=self.options.task, step=self.step)

    @property
    def our_rate(self) -> None:
        """The optimizer is the script's."""

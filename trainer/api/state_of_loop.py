"""What a checkpoint of a user's own loop holds.

`model` and `optimizer` are the first of each that `run.prepare` was given, so that any torch program reads them.
"""

from __future__ import annotations

from typing import Any

from motley.trainer.api.loop_plan import LoopPlan
from motley.trainer.api.prepared import Prepared


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

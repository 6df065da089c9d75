"""Which keys of `[run]` that say how is trained go together. `remote.config.load` asks when it checks the file.

>>> check_training(RunOptions(steps=10, warmup_steps=10), problems)
"""

from __future__ import annotations

from motley.remote.config.problems import Problems
from motley.trainer.contract.spec import RunOptions


def check_training(run: RunOptions, problems: Problems) -> None:
    """Everything about them that the file alone can tell; a script heeds none of them."""
    if run.program is not None:
        return
    if run.early_stop and not run.eval_every:
        problems.add(("run", "early_stop"), "counts evaluations, and with eval_every = 0 there is only the last one")
    if run.precision != "fp32" and run.dtype == "float64":
        problems.add(("run", "precision"), 'does nothing for dtype = "float64"; keep one of them')
    if run.steps is not None and run.warmup_steps >= run.steps:
        problems.add(("run", "warmup_steps"), f"must be below run.steps, {run.steps}, is {run.warmup_steps}")

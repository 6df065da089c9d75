"""When a run ends before its last step, since it does not get better: `run.early_stop`."""

from __future__ import annotations

from motley.trainer.contract.spec import RunOptions
from motley.trainer.errors import TaskError


def is_over(options: RunOptions, epoch_ends: int, best_epoch: int) -> bool:
    """After `epoch_ends` epochs, when the evaluation after `best_epoch` of them was the best, 0 before the first.

    It follows from these two numbers alone, which all ranks have: so all end at the same step, also a rank that was not
    there when the last evaluation was done.

    >>> is_over(RunOptions(early_stop=3, eval_every=2), 11, 6), is_over(RunOptions(early_stop=3, eval_every=2), 12, 6)
    (False, True)
    """
    if not options.early_stop or not options.eval_every:
        return False
    return epoch_ends // options.eval_every - best_epoch // options.eval_every >= options.early_stop


def check(options: RunOptions, test_samples: int) -> None:
    """Raises TaskError where nothing is evaluated."""
    if options.early_stop and not test_samples:
        raise TaskError("run.early_stop: the task has no test data", "Give it some, or leave early_stop out")

"""What the mean loss of a step is a mean of, over all ranks: its samples, or what the task counts in their targets.

Gradients are divided by the step's samples, which every rank knows beforehand. Where the task counts otherwise (tokens
that are not masked), the ranks add up their counts while they compute, and put the difference right at the end.

    >>> counted.begin(batch)                    # before the forward pass; does not wait
    >>> counted.samples_over_count(256)         # after the backward pass
    0.0173
"""

from __future__ import annotations

import torch
import torch.distributed as dist

from motley.trainer.data.batch import Batch
from motley.trainer.tasks.task import Task, counts
from motley.trainer.tasks.task_loss import weight


class LossDenominator:
    """One step at a time."""

    def __init__(self, task: Task) -> None:
        self._task = task if counts(task) else None
        self._sum = torch.zeros(1, dtype=torch.int64)
        self._work: dist.Work | None = None

    def begin(self, batch: Batch | None) -> None:
        """Of this rank's samples; None where it has none."""
        if self._task is not None:
            self._sum.fill_(weight(self._task, batch.content, batch.size) if batch is not None else 0)
            self._work = dist.all_reduce(self._sum, async_op=True)

    def samples_over_count(self, samples: int) -> float:
        """The factor that turns a sum divided by the step's samples into the mean; 1 where samples are counted."""
        if self._work is None:
            return 1.0
        self._work.wait()
        return samples / max(1, int(self._sum))

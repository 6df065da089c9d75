"""The batches of a task: which samples are asked for by number, and what the task makes of them on the CPU.

>>> data = TaskData.of(task, seed=0)
>>> data.train_size, data.train_batch(torch.tensor([7, 3]), epoch=2).size
(1500, 2)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from motley.trainer.data.batch import Batch, misfits
from motley.trainer.data.fetch import Source, source_of
from motley.trainer.errors import DataError
from motley.trainer.tasks.splitmix import hashed, key
from motley.trainer.tasks.task import Task
from motley.trainer.tasks.user_code import user_code

_AUGMENT, _SAMPLE = 2, 6  # the purposes of keys


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskData:
    """What one rank trains and evaluates on. `test` is None where the task has nothing to evaluate on."""

    task: Task
    seed: int
    train: Source
    test: Source | None

    @classmethod
    def of(cls, task: Task, *, seed: int) -> TaskData:
        """Raises DataError for data that can't be drawn from by number, or has no sample."""
        with user_code(task.project):
            trains, tests = task.train_data(), task.test_data()
        train = source_of(trains, task.collate, "train_data")
        if len(train) == 0:
            raise DataError("train_data has no samples", "Look at the path it reads from, on this host")
        test = source_of(tests, task.collate, "test_data") if tests is not None else None
        return cls(task=task, seed=seed, train=train, test=test if test is not None and len(test) else None)

    @property
    def train_size(self) -> int:
        return len(self.train)

    @property
    def test_size(self) -> int:
        return len(self.test) if self.test is not None else 0

    def train_batch(self, ids: Tensor, epoch: int) -> Batch:
        """The samples `ids`, int64 [n], n at least 1, as they are to be seen in this epoch."""
        seed = key(self.seed, epoch, _SAMPLE)
        bits = hashed(ids, key(self.seed, epoch, _AUGMENT))
        with user_code(self.task.project):
            content = self.task.prepare(self.task.augment(self.train.take(ids, seed), bits))
        return _batch(content, len(ids), "train_data")

    def test_batch(self, start: int, stop: int) -> Batch:
        """The test samples from `start` to before `stop`."""
        assert self.test is not None
        ids = torch.arange(start, min(stop, len(self.test)))
        with user_code(self.task.project):
            content = self.task.prepare(self.test.take(ids, key(self.seed, _SAMPLE)))
        return _batch(content, len(ids), "test_data")


def _batch(content: object, size: int, what: str) -> Batch:
    if wrong := misfits(content, size):
        raise DataError(
            f"a batch of {size} samples of {what} has {wrong[0]}: its first dimension is not the sample",
            "Let collate, augment and prepare keep one row for each sample",
        )
    return Batch(content, size)

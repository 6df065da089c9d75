"""The batches of a task: which samples are asked for by number, and what the task makes of them on the CPU.

>>> data = TaskData.of(task, seed=0)
>>> data.train_size, data.train_batch(torch.tensor([7, 3]), epoch=2).size
(1500, 2)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from motley.trainer.contract.data_fingerprint import MOST_WORDS, DataFingerprint
from motley.trainer.contract.validate import LONGEST
from motley.trainer.data.batch import Batch, misfits
from motley.trainer.data.fetch import Source, source_of
from motley.trainer.data.fingerprint import fingerprint
from motley.trainer.data.loading import IN_PROCESS, Loading
from motley.trainer.data.sample_costs import hash_of, lengths_of, work_of
from motley.trainer.data.units import Units, units_of
from motley.trainer.data.worker_pool import WorkerPool
from motley.trainer.devices.names import is_gpu
from motley.trainer.errors import DataError, TaskError
from motley.trainer.tasks.splitmix import hashed, key
from motley.trainer.tasks.task import Task
from motley.trainer.tasks.user_code import user_code, written_at

_AUGMENT, _SAMPLE = 2, 6  # the purposes of keys
STEPS_AHEAD = 2  # that workers fetch, as torch's DataLoader does


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskData:
    """What one rank trains and evaluates on. `test` is None where the task has nothing to evaluate on.

    `work`, `lengths`: of each sample of `train`, int64 [n], where the task says them.
    """

    task: Task
    seed: int
    train: Source
    test: Source | None
    pool: WorkerPool | None = None
    work: Tensor | None = None
    lengths: Tensor | None = None
    pinned: bool = False  # batches lie in memory that a GPU can copy from meanwhile
    units: Units | None = None  # what the task counts besides samples

    @classmethod
    def of(cls, task: Task, *, seed: int, loading: Loading = IN_PROCESS) -> TaskData:
        """Raises DataError for data that can't be drawn from by number, or has no sample, TaskError for a Dataset that
        workers can't have, and for units that are none."""
        with user_code(task.project):
            trains, tests = task.train_data(), task.test_data()
        where = written_at(task.train_data, task.project)
        train = source_of(trains, task.collate, where)
        if len(train) == 0:
            raise DataError(f"{where} has no samples", "Look at the path it reads from, on this host")
        test = source_of(tests, task.collate, written_at(task.test_data, task.project)) if tests is not None else None
        test = test if test is not None and len(test) else None
        units = units_of(task, len(train))
        pool = loading.workers_for({"train": train, "test": test}, task.project)
        pinned = is_gpu(str(loading.device))
        work, lengths = work_of(task, len(train)), lengths_of(task, len(train))
        return cls(
            task=task, seed=seed, train=train, test=test, pool=pool, work=work, lengths=lengths, units=units,
            pinned=pinned,
        )  # fmt: skip

    @property
    def train_size(self) -> int:
        return len(self.train)

    @property
    def test_size(self) -> int:
        return len(self.test) if self.test is not None else 0

    def check_for(self, ranks: int) -> None:
        """Raises DataError when there are more ranks than samples: some would never have one."""
        if self.train_size < ranks:
            where = written_at(self.task.train_data, self.task.project)
            count = f"{self.train_size} sample{'s' * (self.train_size != 1)}"
            raise DataError(f"{where} gives {count} for {ranks} ranks", "Give it more, or take fewer hosts (--only)")

    def fingerprint(self) -> DataFingerprint:
        """Of the training data, with what the task says must be the same, to compare with that of other hosts. Raises
        what drawing eight samples raises, TaskError for an `identity` that is none."""
        with user_code(self.task.project):
            found = fingerprint(self.train)
            words: Any = self.task.identity()  # code of the user's: it may be anything
        where = written_at(self.task.identity, self.task.project)
        if not isinstance(words, Mapping) or not all(isinstance(one, str) for pair in words.items() for one in pair):
            raise TaskError(f"{where} gives no names with a text each", 'return {"vocabulary": "3f2a71c0"}')
        if len(words) > MOST_WORDS or any(len(one) > LONGEST for pair in words.items() for one in pair):
            cause = f"{where} gives more than {MOST_WORDS} names, or a text of more than {LONGEST} characters"
            raise TaskError(cause, "Give a digest of what is long")
        return dataclasses.replace(found, identity=tuple(words.items()), costs=hash_of(self.work, self.lengths))

    @property
    def longest(self) -> int | None:
        """The length of the longest training sample, where the task says them."""
        return None if self.lengths is None else int(self.lengths.max())

    def lengths_of(self, ids: Tensor) -> list[int] | None:
        """Of these samples, where the task says them."""
        return None if self.lengths is None else self.lengths[ids].tolist()

    @property
    def steps_ahead(self) -> int:
        """Of how many steps to come it is of use to tell `train_batch`."""
        return STEPS_AHEAD if self.train.looks_ahead else 0

    def train_batch(self, ids: Tensor, epoch: int, then: Sequence[tuple[Tensor, int]] = ()) -> Batch:
        """The samples `ids`, int64 [n], n at least 1, as they are to be seen in this epoch. `then`: samples, and their
        epochs, that will most likely be asked for next; workers fetch them meanwhile."""
        seed = key(self.seed, epoch, _SAMPLE)
        ahead = [(those, key(self.seed, its, _SAMPLE)) for those, its in then]
        bits = hashed(ids, key(self.seed, epoch, _AUGMENT))
        with user_code(self.task.project):
            content = self.task.prepare(self.task.augment(self.train.take(ids, seed, ahead), bits))
        return self._batch(content, len(ids), "train_data")

    def test_batch(self, start: int, stop: int, *, end: int = 0) -> Batch:
        """The test samples from `start` to before `stop`. Those after them, up to before `end`, will be asked for
        next, as many at a time."""
        assert self.test is not None
        seed, size = key(self.seed, _SAMPLE), len(self.test)
        ids = torch.arange(start, min(stop, size))
        then = torch.arange(stop, max(stop, min(2 * stop - start, end, size)))
        with user_code(self.task.project):
            content = self.task.prepare(self.test.take(ids, seed, [(then, seed)]))
        return self._batch(content, len(ids), "test_data")

    def close(self) -> None:
        """End the workers. A rank's end with its process."""
        if self.pool is not None:
            self.pool.close()

    def _batch(self, content: object, size: int, what: str) -> Batch:
        if wrong := misfits(content, size):
            raise DataError(
                f"a batch of {size} samples of {what} has {wrong[0]}: its first dimension is not the sample",
                "Let collate, augment and prepare keep one row for each sample",
            )
        batch = Batch(content, size)
        return batch.in_pinned_memory() if self.pinned else batch

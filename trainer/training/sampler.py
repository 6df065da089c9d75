"""One global order of samples, and the part of each step that a rank takes.

The loop asks it which samples come next. Step k of an epoch is `order[k * B : (k + 1) * B]`, and a rank takes the slice
that the prefix sums of the shares give it: so the samples of a step depend on the seed alone, never on the split, the
number of hosts or a resume.

    >>> batches = BatchSampler(count=10, global_batch=4, seed=0)
    >>> [len(batches.ids(step, (3, 1), rank=0)) for step in range(3)]
    [3, 3, 2]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from motley.profiles.split_solver import scaled
from motley.trainer.tasks.splitmix import hashed, key

_ORDER = 1  # the purpose of the key


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a step of the run lies: its epoch, its index in it, and `order[start : start + size]`."""

    epoch: int
    index: int
    start: int
    size: int


def order(count: int, seed: int, epoch: int) -> Tensor:
    """The samples 0 to `count` - 1 in the order of one epoch: int64 [count].

    Sorts by random keys which all differ, so that every platform and every version of torch gives the same.
    """
    return torch.argsort(hashed(torch.arange(count), key(seed, epoch, _ORDER)), stable=True)


def steps_per_epoch(count: int, global_batch: int) -> int:
    """Steps that take every sample once. The last is smaller where the batch does not divide the count."""
    return -(-count // global_batch)


def place(step: int, count: int, global_batch: int) -> Place:
    """Where step `step` of the run lies, counted from 0 over all epochs."""
    epoch, index = divmod(step, steps_per_epoch(count, global_batch))
    start = index * global_batch
    return Place(epoch=epoch, index=index, start=start, size=min(global_batch, count - start))


def rank_slice(shares: Sequence[int], rank: int, size: int) -> slice:
    """The part of a step's `size` samples that a rank takes.

    Shares that do not sum to `size` (the last step of an epoch) are scaled to it first, by largest remainder.
    """
    if sum(shares) != size:
        shares = scaled(shares, size)
    start = sum(shares[:rank])
    return slice(start, start + shares[rank])


class BatchSampler:
    """The samples of every step of a run. Keeps the orders of the two epochs that were last asked for."""

    def __init__(self, *, count: int, global_batch: int, seed: int) -> None:
        if count < 1 or global_batch < 1:
            raise ValueError(f"count {count} and global_batch {global_batch} must be at least 1")
        self.count = count
        self.global_batch = global_batch
        self.seed = seed
        self._orders: dict[int, Tensor] = {}  # by epoch

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(self.count, self.global_batch)

    def place(self, step: int) -> Place:
        return place(step, self.count, self.global_batch)

    def ids(self, step: int, shares: Sequence[int], rank: int) -> Tensor:
        """The samples that `rank` takes of step `step`: int64, empty where its share is 0."""
        where = self.place(step)
        if where.epoch not in self._orders:
            newest = dict(list(self._orders.items())[-1:])
            self._orders = {**newest, where.epoch: order(self.count, self.seed, where.epoch)}
        step_ids = self._orders[where.epoch][where.start : where.start + where.size]
        return step_ids[rank_slice(shares, rank, where.size)]

    def ahead(self, steps: range, shares: Sequence[int], rank: int) -> list[tuple[Tensor, int]]:
        """What `rank` takes of each of these steps if the shares stay as they are: samples and epoch."""
        return [(self.ids(step, shares, rank), self.place(step).epoch) for step in steps]

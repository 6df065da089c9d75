"""One global order of samples, and the part of each step that a rank takes.

The loop asks it which samples come next. Step k of an epoch is `order[k * B : (k + 1) * B]`, and a rank takes the slice
that the prefix sums of the shares give it: so the samples of a step depend on the seed alone, never on the split, the
number of hosts or a resume. Where the task says what its samples cost, the shares are proportions of the step's work:
`profiles.work_split` says who takes which of its samples then. Where it says how long they are, a rank's are in the
order of their length, the longest first.

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
from motley.profiles.work_split import split_work
from motley.trainer.tasks.splitmix import hashed, key

_ORDER = 1  # the purpose of the key
_KEPT_SPLITS = 8  # steps


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

    def __init__(
        self,
        *,
        count: int,
        global_batch: int,
        seed: int,
        work: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> None:
        """`work`, `lengths`: of each sample, int64 [count], where the task says them."""
        if count < 1 or global_batch < 1:
            raise ValueError(f"count {count} and global_batch {global_batch} must be at least 1")
        self.count = count
        self.global_batch = global_batch
        self.seed = seed
        self._orders: dict[int, Tensor] = {}  # by epoch
        self._lengths = lengths
        self._work = work
        self._mean = 1.0 if work is None else int(work.sum()) / count
        self._splits: dict[tuple[int, tuple[int, ...]], tuple[tuple[int, ...], ...]] = {}  # by step and shares

    @property
    def steps_per_epoch(self) -> int:
        return steps_per_epoch(self.count, self.global_batch)

    @property
    def by_work(self) -> bool:
        """Whether shares are proportions of a step's work, not numbers of its samples."""
        return self._work is not None

    @property
    def by_length(self) -> bool:
        """Whether a pass is bounded by samples times the longest of them, not by samples."""
        return self._lengths is not None

    def place(self, step: int) -> Place:
        return place(step, self.count, self.global_batch)

    def ids(self, step: int, shares: Sequence[int], rank: int) -> Tensor:
        """The samples that `rank` takes of step `step`: int64, empty where its share is 0, or none of them is left."""
        step_ids = self._step_ids(step)
        if self._work is None:
            taken = step_ids[rank_slice(shares, rank, len(step_ids))]
        else:
            taken = step_ids[torch.tensor(self._split(step, step_ids, shares)[rank], dtype=torch.int64)]
        if self._lengths is None:
            return taken
        return taken[torch.argsort(self._lengths[taken], descending=True, stable=True)]

    def borrowed(self, step: int) -> Tensor:
        """One of its samples, a short one where lengths are known, for a rank that has none: int64 [1]."""
        step_ids = self._step_ids(step)
        if self._lengths is None:
            return step_ids[:1]
        return step_ids[self._lengths[step_ids].argmin()][None]

    def ahead(self, steps: range, shares: Sequence[int], rank: int) -> list[tuple[Tensor, int]]:
        """What `rank` takes of each of these steps if the shares stay as they are: samples and epoch."""
        return [(self.ids(step, shares, rank), self.place(step).epoch) for step in steps]

    def sizes(self, step: int, shares: Sequence[int]) -> tuple[int, ...]:
        """How many samples each rank takes of step `step`."""
        if self._work is None:
            return scaled(shares, self.place(step).size)
        return tuple(len(places) for places in self._split(step, self._step_ids(step), shares))

    def planned(self, step: int, shares: Sequence[int], rank: int) -> int:
        """The share of `rank` in step `step`, which may be a smaller one: samples, or as many mean samples' work."""
        part = rank_slice(shares, rank, self.place(step).size)
        return int(part.stop - part.start)

    def work_of(self, ids: Tensor) -> float:
        """What these samples cost, in mean samples of the whole data: their number, where all cost alike."""
        return float(len(ids)) if self._work is None else int(self._work[ids].sum()) / self._mean

    def _step_ids(self, step: int) -> Tensor:
        where = self.place(step)
        if where.epoch not in self._orders:
            newest = dict(list(self._orders.items())[-1:])
            self._orders = {**newest, where.epoch: order(self.count, self.seed, where.epoch)}
        return self._orders[where.epoch][where.start : where.start + where.size]

    def _split(self, step: int, step_ids: Tensor, shares: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """By rank, places in `step_ids`. The last few are kept: a step is asked for again by those who look ahead."""
        assert self._work is not None
        asked = (step, tuple(shares))
        if asked not in self._splits:
            self._splits = dict(list(self._splits.items())[1 - _KEPT_SPLITS :])
            self._splits[asked] = split_work(self._work[step_ids].tolist(), shares)
        return self._splits[asked]

"""How many threads a rank computes with on a CPU, tried in its first steps where no profile says it. No torch.

A few counts take turns, twice, the second time in reverse order, so that a machine that becomes slower or faster
meanwhile wrongs none of them. A step after a change of the count does not count: pools and kernels are made anew. What
is measured meanwhile is no evidence of what the rank will cost, so it goes to the balancer as disturbed; shares stay as
they are until all ranks have done. All ranks of a host do this in the same steps, as they will compute.

    >>> trial = ThreadTrial((1, 2), apply=torch.set_num_threads, told=print)
    >>> trial.measured(64, 110.0)        # after each step; 2 threads are in place
    nan
    >>> trial.count, trial.over
    (2, False)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from motley.profiles.thread_counts import fastest, rates

FIRST = 2  # steps of a run that do not count: buckets, caches and kernels are made
STEPS = 2  # that count, each time it is a count's turn
LONG_MS = 1000.0  # a step of this length says enough by itself, and is tried once
HOPELESS = 1.5  # times as slow as the fastest: no second turn
OTHER_BATCH = 3  # steps in a row of another batch: the trial begins anew with that
MOST_STEPS = 80  # then what is known by then decides


class ThreadTrial:
    """Of one rank. `apply` sets the count, `told` gets what was found: samples a second by count, and the one kept."""

    def __init__(
        self,
        counts: Sequence[int],
        *,
        apply: Callable[[int], None] = lambda _: None,
        told: Callable[[Mapping[int, float], int], None] = lambda _found, _kept: None,
    ) -> None:
        """`counts`: the last of them is in place; with less than two of them there is nothing to try."""
        self.count = counts[-1] if counts else 0  # threads; 0 on a GPU
        self._counts = tuple(counts)
        self._apply, self._told = apply, told
        self._steps = 0
        self._skip = FIRST
        self._turns: list[int] = []
        self._took: dict[int, list[float]] = {}
        self._now: list[float] = []  # of this turn
        self._batch = self._others = 0
        self.over = len(counts) < 2

    @classmethod
    def without(cls, count: int) -> ThreadTrial:
        """Nothing is tried: it is known, or given, how many."""
        return cls((count,))

    def measured(self, batch: int, busy_ms: float, work: float | None = None) -> float:
        """After each step: what it says of this rank's cost, NaN while the trial is on. May change the count.

        `work`: what the step's samples came to, where they cost differently and `batch` is the share, both in samples
        of mean cost. Its time is taken for that of the share then.
        """
        if self.over or batch == 0:  # a rank without samples has nothing to try with
            return busy_ms
        if work is not None:
            busy_ms = busy_ms * batch / work if work else math.nan
        self._steps += 1
        if self._steps >= MOST_STEPS:
            self._end()
        elif self._is_of_size(batch):
            if self._skip:
                self._skip -= 1
            elif math.isfinite(busy_ms) and busy_ms > 0:
                self._now.append(busy_ms)
                if len(self._now) >= STEPS or busy_ms >= LONG_MS:
                    self._next_turn(long=busy_ms >= LONG_MS)
        return math.nan

    def _is_of_size(self, batch: int) -> bool:
        """Whether a step is of the size that the trial goes by: not a smaller one at the end of an epoch."""
        self._others = 0 if batch == self._batch else self._others + 1
        if self._batch and 0 < self._others < OTHER_BATCH:
            return False
        if batch != self._batch:
            self._batch, self._others = batch, 0
            self._turns = [*reversed(self._counts), *self._counts]
            self._took, self._now = {}, []
            self._use(self._turns.pop(0))
        return True

    def _next_turn(self, *, long: bool) -> None:
        self._took.setdefault(self.count, []).extend(self._now)
        self._now = []
        if long:
            self._turns = [count for count in self._turns if count not in self._took]
        elif len(self._took) == len(self._counts):
            quickest = {count: min(times) for count, times in self._took.items()}
            close = [c for c in self._counts if quickest[c] < HOPELESS * min(quickest.values())]
            self._turns = [c for c in self._turns if c in close] if len(close) > 1 else []
        if self._turns:
            self._use(self._turns.pop(0))
        else:
            self._end()

    def _use(self, count: int) -> None:
        if count != self.count:
            self._skip = max(self._skip, 1)
            self._apply(count)
        self.count = count

    def _means(self) -> dict[int, float]:
        return {count: fmean(times) for count, times in self._took.items()}

    def _end(self) -> None:
        """With the fastest in place; with the one of before where nothing was measured."""
        self.over = True
        means = self._means()
        kept = fastest(means) if means else self._counts[-1]
        self._use(kept)
        if len(means) > 1:
            self._told(rates(means, self._batch), kept)

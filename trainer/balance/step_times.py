"""What whole steps took, as rank 0 hears of them, beside what every rank was busy: for `trainer.balance.balancer`.

A step's time is known to all ranks, since they wait for each other: it is that of the one that says most. With local
SGD they wait only at the end of a window, so there all steps of a window have the mean of them.

    >>> times = StepTimes(ranks=2)
    >>> times.take(rows, models, shares=(96, 32), total=128)
    >>> times.rest_ms           # beside the slowest rank's own work
    4.1
    >>> times.scatter           # of a step of each rank beside the other, relative to its time
    (0.04, 0.04)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import isfinite, log
from statistics import fmean, median

from motley.profiles.cost import CostModel
from motley.profiles.cost_line import LEAST_MS
from motley.profiles.step_time import rest_ms
from motley.trainer.balance.measured_step import MeasuredStep
from motley.trainer.balance.step_scatter import StepScatter

RECENT = 30  # steps that the rest is taken from
BEFORE = 15  # steps before a change that those after it are compared with


class StepTimes:
    """`after`: times of full steps, in ms, that had the shares which hold now; where samples differ in what they cost,
    as if those of each step had cost the mean. `works`: what each rank had of the newest of these steps then."""

    def __init__(self, ranks: int, *, apart: bool = False) -> None:
        self.after: list[float] = []
        self.works: deque[tuple[float, ...]] = deque(maxlen=RECENT)
        self.before_ms = 0.0  # the median before the last change
        self._apart = apart
        self._recent: deque[tuple[float, float]] = deque(maxlen=RECENT)
        self._scatter = StepScatter(ranks)

    def take(
        self,
        rows: Sequence[Sequence[MeasuredStep]],
        models: Sequence[CostModel],
        shares: tuple[int, ...],
        total: int,
    ) -> None:
        """One window, rows by rank; smaller steps at the end of an epoch and disturbed ones are left out."""
        steps = [step for step in zip(*rows) if all(isfinite(r.busy_ms) for r in step)]
        steps = [step for step in steps if sum(r.batch for r in step) == total]
        if not steps:
            return
        times = [(max(r.step_ms for r in step), max(r.busy_ms for r in step)) for step in steps]
        if self._apart:
            slowest = max(fmean(r.busy_ms for r in rank) for rank in zip(*steps))
            times = [(fmean(step_ms for step_ms, _ in times), slowest)] * len(times)
        self._recent.extend(times)
        if all(model.known for model in models):
            meetings = [list(zip(*steps))] if self._apart else [[(row,) for row in step] for step in steps]
            self._scatter.take([[_ratio(rank, model) for rank, model in zip(ranks, models)] for ranks in meetings])
        for (ms, busy_ms), step in zip(times, steps):
            if tuple(r.share for r in step) == shares:
                work = [r.work for r in step]
                varies = any(r.part is not None for r in step) and sum(work) > 0
                self.after.append(ms - busy_ms + busy_ms * total / sum(work) if varies else ms)
                self.works.extend([tuple(work)] * varies)

    @property
    def rest_ms(self) -> float:
        return rest_ms(self._recent)

    @property
    def scatter(self) -> tuple[float, ...]:
        return self._scatter.relative

    def new_shares(self) -> None:
        """Others hold from here on."""
        self.before_ms = median(self.after[-BEFORE:]) if self.after else self.before_ms
        self.after = []
        self.works.clear()


def _ratio(rows: Sequence[MeasuredStep], model: CostModel) -> float:
    """What a rank was busy until it met the others, over what its line says: the logarithm."""
    busy_ms, expected_ms = sum(row.busy_ms for row in rows), sum(model.line.at(row.work).ms for row in rows)
    return log(max(busy_ms, LEAST_MS) / expected_ms)

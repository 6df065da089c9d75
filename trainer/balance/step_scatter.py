"""How much the steps of each rank scatter beside what slows all of them: what ranks wait for. Pure; no clock.

Who is the last of a step is decided by what one rank took longer than the others. What slows all alike, as another user
of a machine that they share does, makes a step longer and makes nobody wait. So from the time of each rank, relative to
its line, the mean of all ranks of that step is taken off:

    >>> scatter = StepScatter(ranks=2)
    >>> scatter.take([(0.10, 0.30), (-0.25, -0.05), (0.02, -0.20)])     # log(took / expected), rank by rank
    >>> scatter.relative
    (0.063..., 0.063...)

What is left of rank i has the variance `V_i`, the square of its robust deviation (`profiles.cost.deviation`) over the
last 30 steps. For n ranks that scatter independently with variances `v_i`, with `V = sum V_i` and `v = sum v_i`,

    V_i = (1 - 2 / n) v_i + v / n^2        and        v = V n / (n - 1)

from which v_i follows; of two ranks only v can be known, and each counts half. Before it is known it counts as 0.1
squared, worth 2 steps.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from statistics import fmean

from motley.profiles.cost import deviation

RECENT = 30  # steps
GUESS, GUESS_STEPS = 0.10, 2.0


class StepScatter:
    """Of the ranks of one group, at least one. `relative`: standard deviation of one step, as a part of its time."""

    def __init__(self, ranks: int) -> None:
        self._own: list[deque[float]] = [deque(maxlen=RECENT) for _ in range(ranks)]
        self._relative: tuple[float, ...] | None = None

    def take(self, steps: Sequence[Sequence[float]]) -> None:
        """Steps, of each the logarithm of what every rank took over what its line says, in rank order."""
        for step in steps:
            common = fmean(step)
            for own, ratio in zip(self._own, step, strict=True):
                own.append(ratio - common)
        self._relative = None

    @property
    def relative(self) -> tuple[float, ...]:
        if self._relative is None:
            steps = len(self._own[0])
            found = _variances([deviation(own) ** 2 for own in self._own]) if steps > 1 else [GUESS**2] * len(self._own)
            self._relative = tuple(
                math.sqrt((one * steps + GUESS**2 * GUESS_STEPS) / (steps + GUESS_STEPS)) for one in found
            )
        return self._relative


def _variances(left: Sequence[float]) -> list[float]:
    """Of each rank, from those that are left once the mean of all is taken off."""
    n = len(left)
    if n == 1:
        return [GUESS**2]
    together = sum(left) * n / (n - 1)
    if n == 2:
        return [together / 2] * 2
    return [max(0.0, (one - together / n**2) / (1 - 2 / n)) for one in left]

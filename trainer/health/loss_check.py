"""Whether the loss is sound: a number, and not blown up. Pure.

A loss that is not finite is told at once. For one that has *blown up*, windows of steps (`balance.window`) are looked
at, each by the median of its losses. Of the last 20 windows that were sound, at least 5, let m be the median, q the
difference of the quartiles, and f the first window there ever was. A window is *high* above

    max(m + max(9 |m|, 3 q), f - 0.9 |f|)

which is 10 m where losses are positive and steady: so neither the fall of a run's first steps nor noise around a small
loss counts, and losses may be negative. The loss has blown up when a high window follows another and is not below it.

>>> check = LossCheck()
>>> check.step(7, math.inf, member=2)
Trouble(step=7, why='infinite', loss=inf, usual=None, member=2)
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Literal

WINDOWS, LEAST = 20, 5

Why = Literal["not a number", "infinite", "blown up", "weights"]


@dataclass(frozen=True, slots=True)
class Trouble:
    """`step`: the first whose loss is not sound; a state of that many steps or more is not good. `usual`: m."""

    step: int
    why: Why
    loss: float
    usual: float | None = None
    member: int | None = None  # the rank whose samples had it

    def told(self) -> str:
        match self.why:
            case "blown up":
                return f"the loss has blown up: {self.loss:.4g} from step {self.step:,} on, {self.usual:.4g} before"
            case "weights":
                return f"the weights are not finite after step {self.step - 1:,}"
        who = f" (rank {self.member})" if self.member is not None else ""
        return f"the loss of step {self.step:,} is {self.why}{who}"


class LossCheck:
    """`trouble` stays until a window is sound again; meanwhile nothing new is told."""

    def __init__(self) -> None:
        self.trouble: Trouble | None = None
        self._first: float | None = None
        self._sound: deque[float] = deque(maxlen=WINDOWS)
        self._high: tuple[int, float] | None = None  # the first step of the high windows, the loss of the newest

    def step(self, step: int, loss: float, *, member: int | None = None) -> Trouble | None:
        """One step of one rank. Returns what is new."""
        if math.isfinite(loss):
            return None
        return self._new(Trouble(step, "not a number" if math.isnan(loss) else "infinite", loss, member=member))

    def weights(self, steps: int) -> Trouble | None:
        """They are not finite after so many steps."""
        return self._new(Trouble(steps + 1, "weights", math.nan))

    def window(self, first: int, losses: Sequence[float]) -> Trouble | None:
        """The global losses of steps from `first` on. Returns what is new."""
        for step, loss in enumerate(losses, first):
            if not math.isfinite(loss):
                return self.step(step, loss)
        if not losses:
            return None
        now, bound = median(losses), self._bound()
        self._first = now if self._first is None else self._first
        if bound is None or now <= bound:
            self._sound.append(now)
            self._high = None
            if self.trouble is not None and first >= self.trouble.step:  # not one of before, which is told later
                self.trouble = None
            return None
        before, self._high = self._high, (self._high[0] if self._high else first, now)
        if before is None or now < before[1]:
            return None
        return self._new(Trouble(before[0], "blown up", now, usual=median(self._sound)))

    def _bound(self) -> float | None:
        if self._first is None or len(self._sound) < LEAST:
            return None
        low, middle, high = quantiles(self._sound, n=4)
        return max(middle + max(9 * abs(middle), 3 * (high - low)), self._first - 0.9 * abs(self._first))

    def _new(self, trouble: Trouble) -> Trouble | None:
        if self.trouble is not None and (self.trouble.why != "blown up" or trouble.why == "blown up"):
            return None
        self.trouble = trouble
        return trouble

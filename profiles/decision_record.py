"""What came of earlier changes of the split, and how much the next one must promise for it. Pure; no clock.

A prediction is only as good as what it is made from. Where hosts scatter by more than there is to be gained, each new
split looks better than the last and none is. So a change is believed in by the record of those before it: whoever has
promised and not kept must promise twice as much the next time, and again. What was kept costs nothing.

    >>> record = DecisionRecord()
    >>> record.open(step=20, predicted_ms=44.0)
    >>> record.close(before_ms=60.0, realised_ms=62.0)
    Outcome(step=20, before_ms=60.0, predicted_ms=44.0, realised_ms=62.0)
    >>> record.needed_gain(25, least=0.03)
    0.059...
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

KEPT = 0.5  # of the promised gain: then a change has paid
FAILED_TIMES, SMALL_TIMES, LARGE, MOST_DOUBT = 3.0, 2.0, 0.2, 10.0
FADE_STEPS = 1000  # after so many steps a disappointment counts half
MOST_GAIN = 0.30  # a host that has become much slower is followed whatever the record
REMEMBERED = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One change of the split, from `step` on: medians of whole steps, in ms."""

    step: int
    before_ms: float
    predicted_ms: float
    realised_ms: float

    @property
    def kept(self) -> bool:
        return self.before_ms - self.realised_ms >= KEPT * (self.before_ms - self.predicted_ms)


class DecisionRecord:
    """Of one group. One change at a time is open: made, and not measured yet."""

    def __init__(self) -> None:
        self._open: tuple[int, float, float] | None = None  # step, promised gain, predicted ms
        self._past: deque[tuple[int, float, bool]] = deque(maxlen=REMEMBERED)  # step, promised gain, kept

    @property
    def is_open(self) -> bool:
        return self._open is not None

    @property
    def clean(self) -> bool:
        """Whether no change has failed so far."""
        return all(kept for _, _, kept in self._past)

    def open(self, *, step: int, current_ms: float, predicted_ms: float) -> None:
        """A change holds from `step` on. One that is open still was not to be judged."""
        self._open = (step, 1 - predicted_ms / current_ms, predicted_ms)

    def close(self, *, before_ms: float, realised_ms: float) -> Outcome:
        """What the open change brought."""
        assert self._open is not None, "open comes first"
        (step, promised, predicted_ms), self._open = self._open, None
        outcome = Outcome(step=step, before_ms=before_ms, predicted_ms=predicted_ms, realised_ms=realised_ms)
        self._past.append((step, promised, outcome.kept))
        return outcome

    def doubt(self, step: int) -> float:
        """How many times as large as it seems the uncertainty of a prediction at `step` is to be taken; 1 at first."""
        past = [*self._past, *([(*self._open[:2], False)] if self._open else [])]
        doubt = 1.0
        for at, promised, kept in past:
            times = FAILED_TIMES if not kept else SMALL_TIMES if promised < LARGE else 1.0
            doubt *= times ** math.pow(0.5, max(0, step - at) / FADE_STEPS)
        return min(doubt, MOST_DOUBT)

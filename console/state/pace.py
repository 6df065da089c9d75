"""How long a step takes, for the time that is left: over so many steps that it does not jump with every few of them.

>>> pace = Pace()
>>> pace.add(100.0)
>>> pace.ms
100.0
"""

from __future__ import annotations

from math import exp

DECAY_MS = 20_000.0  # of training, after which a step counts by a third


class Pace:
    """The mean of all steps, the newest ones counting most: by exp(-training time since / `DECAY_MS`).

    A change, of the split or of the group, comes in over the next minute. A mean that forgot what was before it
    would rest on the few steps since, and the time that is left would leap with each of them.
    """

    def __init__(self) -> None:
        self._total_ms = 0.0
        self._steps = 0.0

    def add(self, ms: float) -> None:
        keep = exp(-ms / DECAY_MS)
        self._total_ms = self._total_ms * keep + ms
        self._steps = self._steps * keep + 1.0

    @property
    def ms(self) -> float | None:
        return self._total_ms / self._steps if self._steps else None

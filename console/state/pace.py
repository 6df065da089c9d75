"""How long a step takes, for the time that is left: over so many steps that it does not jump with every few of them.

>>> pace = Pace()
>>> pace.add(100.0)
>>> pace.ms
100.0
"""

from __future__ import annotations

from collections import deque

LONG_MS = 60_000.0  # of steps that are looked at
SURE_MS = 5_000.0  # of steps under a new split, before those under the old one are forgotten
MOST = 4096  # steps


class Pace:
    """The mean of the steps of the last minute; of those under the split that holds, once there are enough of them."""

    def __init__(self) -> None:
        self._steps: deque[float] = deque(maxlen=MOST)
        self._total_ms = 0.0
        self._since: float | None = None  # time under a split that is new

    def add(self, ms: float) -> None:
        if len(self._steps) == MOST:
            self._total_ms -= self._steps.popleft()
        self._steps.append(ms)
        self._total_ms += ms
        while self._total_ms > LONG_MS and len(self._steps) > 1:
            self._total_ms -= self._steps.popleft()
        if self._since is not None:
            self._since += ms
            if self._since >= SURE_MS:
                self._keep_newest(self._since)
                self._since = None

    def changed(self) -> None:
        """The split has changed: what steps took before says less."""
        self._since = 0.0

    @property
    def ms(self) -> float | None:
        return max(0.0, self._total_ms) / len(self._steps) if self._steps else None

    def _keep_newest(self, total_ms: float) -> None:
        while self._total_ms > total_ms * (1 + 1e-9) and len(self._steps) > 1:
            self._total_ms -= self._steps.popleft()

"""When a checkpoint within an epoch is due: every so many steps, every so many minutes. Pure but for its clock.

>>> schedule = CheckpointSchedule(steps=100, minutes=0.0)
>>> schedule.begin(250)
>>> schedule.due(299), schedule.due(300)
('', 'steps')
>>> schedule.written(300)
>>> schedule.due(301)
''
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

Why = Literal["", "steps", "minutes"]


class CheckpointSchedule:
    """A rank's, from its first group to its last: rank 0 asks it, and another rank may be rank 0 later."""

    def __init__(self, *, steps: int = 0, minutes: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        """0 is never."""
        self._steps, self._seconds = steps, minutes * 60
        self._clock = clock
        self._step = 0
        self._at = clock()

    def begin(self, step: int) -> None:
        """A group goes on from this step: what was due before it, another rank has seen to."""
        self._step = step

    def due(self, step: int) -> Why:
        """Whether a checkpoint of this step is due, and why. One that had to wait is due until it is `written`."""
        if self._steps and step // self._steps > self._step // self._steps:
            return "steps"
        return "minutes" if self._seconds and self._clock() - self._at >= self._seconds else ""

    def written(self, step: int) -> None:
        """A checkpoint of this step was written, whoever asked for it; or there was no room for it."""
        self._step, self._at = step, self._clock()

"""How far `motley profile` is: devices measured of all, and about how long the others will take. No clock of its own.

`remote.launch.calibrate` says when a device begins and when it is done, in seconds of one clock:

    >>> progress = CalibrationProgress({"h1 cpu": "tower", "h2 cpu": "tower", "h3 cpu": "box"})
    >>> progress.begin("h1 cpu", 0.0)
    >>> progress.done("h1 cpu", 30.0)
    '1 of 3 measured, about 30 s left'

Devices of one machine are measured one after the other, machines at the same time. So the time left is that of the
machine that has most to do, each device taking as long as those that are done did on average.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean


class CalibrationProgress:
    """`machines`: of each device, by any names."""

    def __init__(self, machines: Mapping[str, str]) -> None:
        self._machines = dict(machines)
        self._began: dict[str, float] = {}
        self._took: dict[str, float] = {}  # seconds, of those that are done

    def begin(self, device: str, now: float) -> None:
        self._began[device] = now

    def done(self, device: str, now: float) -> str:
        """What to say when a device is done, measured or not."""
        self._took[device] = now - self._began.get(device, now)
        words = f"{len(self._took)} of {len(self._machines)} measured"
        left_s = self.left_s(now)
        return f"{words}, about {_rounded(left_s)} left" if left_s > 0 else words

    def left_s(self, now: float) -> float:
        """Seconds until the last device is done; 0 before the first one is, when nothing is known."""
        if not self._took:
            return 0.0
        usual = fmean(self._took.values())
        left = dict.fromkeys(self._machines.values(), 0.0)
        for device, machine in self._machines.items():
            if device not in self._took:
                left[machine] += max(0.0, usual - (now - self._began[device])) if device in self._began else usual
        return max(left.values())


def _rounded(seconds: float) -> str:
    """
    >>> _rounded(12.3), _rounded(95.0)
    ('15 s', '2 min')
    """
    return f"{max(5, round(seconds / 5 + 0.49) * 5)} s" if seconds < 60 else f"{round(seconds / 60)} min"

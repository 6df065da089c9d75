"""The clocks of the hosts against the master's: when something happened, whatever a host's own clock says. Pure.

    >>> clocks = Clocks()
    >>> clocks.hear(Link(host="box1", up=True, text="connected", clock_offset_s=3599.9))
    >>> clocks.at("box1", 1_700_003_600.0)
    1700000000.1

Every beat of a host measures its clock, and is late by its time on the way: of the last few measures the highest is
the nearest to the truth. What is left of the error is the shortest way, milliseconds in most networks. The first beat
of a connection comes after all that the host had to tell, seconds late perhaps, and others queue behind it
(`Lateness`): until there is a better one, a clock that may be right by them is taken to be.
"""

from __future__ import annotations

from collections import deque

from motley.remote.feed import Link

LOOSE_S = 0.5  # a measure that may be later than that holds until there is a better one
KEPT = 8  # measures of each host, a second apart: a clock that is set is believed that much later


class Lateness:
    """How late the beats of one connection may be. A beat that waited to be read comes quicker after the one before
    than the host wrote it."""

    def __init__(self, asked_at: float) -> None:
        """`asked_at`: when the connection was asked for, seconds on the clock of the reader."""
        self._asked_at = asked_at
        self._before: tuple[float, float] | None = None

    def of(self, read_at: float, written_at: float) -> float:
        """Seconds at most of a beat that was read and written then, by two clocks; 0 for one that was read at once."""
        before, self._before = self._before, (read_at, written_at)
        if before is not None and read_at - before[0] >= (written_at - before[1]) / 2:
            return 0.0
        return read_at - self._asked_at


class Clocks:
    """Offsets in seconds, host clock minus master clock."""

    def __init__(self) -> None:
        self._measured: dict[str, deque[float]] = {}
        self._first: dict[str, float] = {}  # by a beat that may be late, where no other was heard

    def hear(self, link: Link) -> None:
        """A connection that is down measures nothing."""
        if not link.up:
            return
        if link.clock_late_s > LOOSE_S:
            may_be_right = link.clock_offset_s <= 0 <= link.clock_offset_s + link.clock_late_s
            self._first[link.host] = 0.0 if may_be_right else link.clock_offset_s
            return
        self._measured.setdefault(link.host, deque(maxlen=KEPT)).append(link.clock_offset_s)

    def offset_s(self, host: str) -> float:
        """0 for a host that has not been heard."""
        return max(self._measured.get(host, ()), default=self._first.get(host, 0.0))

    def at(self, host: str, time: float) -> float:
        """A time of the host's clock on the master's, in seconds since 1970."""
        return time - self.offset_s(host)

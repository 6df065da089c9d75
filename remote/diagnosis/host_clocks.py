"""The clocks of the hosts against the master's: when something happened, whatever a host's own clock says. Pure.

    >>> clocks = Clocks()
    >>> clocks.hear(Link(host="box1", up=True, text="connected", clock_offset_s=3599.9))
    >>> clocks.at("box1", 1_700_003_600.0)
    1700000000.1

Every beat of a host measures its clock, and is late by its time on the way: of the last few measures the highest is
the nearest to the truth. What is left of the error is the shortest way, milliseconds in most networks.
"""

from __future__ import annotations

from collections import deque

from motley.remote.feed import Link

KEPT = 8  # measures of each host, a second apart: a clock that is set is believed that much later


class Clocks:
    """Offsets in seconds, host clock minus master clock."""

    def __init__(self) -> None:
        self._measured: dict[str, deque[float]] = {}

    def hear(self, link: Link) -> None:
        """A connection that is down measures nothing."""
        if link.up:
            self._measured.setdefault(link.host, deque(maxlen=KEPT)).append(link.clock_offset_s)

    def offset_s(self, host: str) -> float:
        """0 for a host that has not been heard."""
        return max(self._measured.get(host, ()), default=0.0)

    def at(self, host: str, time: float) -> float:
        """A time of the host's clock on the master's, in seconds since 1970."""
        return time - self.offset_s(host)

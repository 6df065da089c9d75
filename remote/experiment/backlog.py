"""What a run had told before it was looked at, handed over in the order of its times.

A host sends what it has as fast as it can, one file after the other; others send theirs meanwhile. Passed on as it
comes, that would be a story out of order, told as if it happened now. Where a host has not noted when a rank printed
what, it is known only when its output was last written to: that is the latest that a line can be of.

    >>> backlog = Backlog(emit)
    >>> backlog.hold()
    >>> backlog.take(record)           # events and output are kept back; figures of steps have their own order
    >>> backlog.release(over=False)    # all hosts have sent what they had: it is told, then `CaughtUp`
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf

from motley.remote.diagnosis.host_clocks import Clocks
from motley.remote.feed import CaughtUp, Ended, FeedRecord, Link, LogLine
from motley.trainer.contract.wire import Event

MOST = 100_000  # records that are kept back at once; of more, the older half is told before


class Backlog:
    def __init__(self, emit: Callable[[FeedRecord], None]) -> None:
        self._emit = emit
        self._clocks = Clocks()
        self._held: list[Event | LogLine] | None = None

    def hold(self) -> None:
        """From now on, until `release`."""
        self._held = []

    def take(self, record: FeedRecord) -> None:
        if isinstance(record, Link):
            self._clocks.hear(record)
        if self._held is not None and isinstance(record, (Event, LogLine)):
            self._held.append(record)
            if len(self._held) >= MOST:
                self._tell(MOST // 2)
            return
        if isinstance(record, Ended):
            self.release(over=True)
        self._emit(record)

    def release(self, *, over: bool) -> None:
        """`over`: the run has ended before it was looked at."""
        if self._held is None:
            return
        self._tell(len(self._held))
        self._held = None
        self._emit(CaughtUp(over=over))

    def _tell(self, count: int) -> None:
        """The oldest `count` records."""
        assert self._held is not None
        _bound(self._held)
        self._held.sort(key=self._at)
        oldest, self._held = self._held[:count], self._held[count:]
        for record in oldest:
            self._emit(record)

    def _at(self, record: Event | LogLine) -> float:
        """By the master's clock. What has no time of its own comes first."""
        return self._clocks.at(record.host, record.time or 0.0)


def _bound(records: list[Event | LogLine]) -> None:
    """A line was printed before the next one of its rank: no time is later than that of the next."""
    latest: dict[tuple[str, int], float] = {}
    for i in range(len(records) - 1, -1, -1):
        line = records[i]
        if isinstance(line, LogLine) and line.time is not None:
            rank = line.host, line.member
            latest[rank] = min(line.time, latest.get(rank, inf))
            records[i] = replace(line, time=latest[rank], at_latest=not line.exact)

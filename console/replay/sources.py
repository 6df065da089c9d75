"""What is told again, each of its files a source of records in their order, merged into one tape.

>>> tape = Tape([EventSource(events, 0, more), MetricsSource(path, 0), LogSource(path, 0, "box1", 0, 5.0)])
>>> tape.time()            # of the next record, by the clock of who told it
1763900000.0
>>> tape.take()
Event(...)
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, Union

from motley.console.replay.line_reader import LineReader
from motley.remote.experiment.local_names import first_of, member_of
from motley.remote.experiment.printed_times import Times
from motley.remote.experiment.records import record_of
from motley.remote.feed import LogLine
from motley.trainer.contract.wire import Event, Reading, Sample, Usage

Told = Union[Sample, Reading, Usage, Event, LogLine]
MOST_TIMES = 16 << 20  # bytes of the times of a log: of more none are known


class Source(Protocol):
    def next(self) -> tuple[float, Told] | None:
        """The next record and its time, None as long as there is none. Raises OSError."""

    def close(self) -> None: ...


class EventSource:
    """Of a list that is in order of time, from a place in it on; `more` reads on in the file that it is of."""

    def __init__(self, events: Sequence[Event], begin: int, more: Callable[[], object]) -> None:
        self._events, self._at, self._more = events, begin, more

    def next(self) -> tuple[float, Told] | None:
        if self._at >= len(self._events):
            self._more()
        if self._at >= len(self._events):
            return None
        event = self._events[self._at]
        self._at += 1
        return event.time, event

    def close(self) -> None:
        """Nothing is held open."""


class MetricsSource:
    """What a rank told of its steps. A line that is none is passed over."""

    def __init__(self, path: Path, begin: int) -> None:
        self._name, self._reader = path.name, LineReader(path, begin)

    def next(self) -> tuple[float, Told] | None:
        while (line := self._reader.next()) is not None:
            record = metric(self._name, line)
            if record is not None:
                return record.time, record
        return None

    def close(self) -> None:
        self._reader.close()


class LogSource:
    """What a rank printed. A line whose time is not known is as old as the one before it; the first as `since`."""

    def __init__(self, path: Path, begin: int, host: str, since: float, times: Times) -> None:
        self._host, self._since, self._times = host, since, times
        member = member_of(path)
        self._member = -1 if member is None else member
        self._reader = LineReader(path, begin)

    def next(self) -> tuple[float, Told] | None:
        begin = self._reader.at
        line = self._reader.next()
        if line is None:
            return None
        at = self._times.at(begin)
        self._since = self._since if at is None else at
        text = line.decode(errors="replace")
        known = at is not None
        return self._since, LogLine(host=self._host, member=self._member, text=text, time=self._since, exact=known)

    def close(self) -> None:
        self._reader.close()


def metric(name: str, line: bytes) -> Sample | Reading | Usage | None:
    """What one line of a rank's figures says, made safe to show."""
    record = record_of("", name, line) if line else None
    return None if record is None or isinstance(record, Event) else record


def times_of(log: Path) -> Times:
    """When the lines of a log were printed, as far as that is known here."""
    path = log.with_suffix(".times")
    sound = path.is_file() and not path.is_symlink() and path.stat().st_size <= MOST_TIMES
    return Times.read(path) if sound else Times(())


def is_rank_log(path: Path) -> bool:
    return path.suffix == ".log" and first_of(f"logs/{path.name}") != "logs/coordinator.log"


class Tape:
    """Sources, merged by the times of their records. One that has no more is asked again by `listen`."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._heads: list[tuple[float, int, Told]] = []
        self._silent = set(range(len(sources)))
        self.listen()

    def listen(self) -> None:
        """Whether files have grown, since they had nothing more."""
        for number in sorted(self._silent):
            self._pull(number)

    def time(self) -> float | None:
        return self._heads[0][0] if self._heads else None

    def take(self) -> Told:
        """The next record; there has to be one."""
        _, number, record = heapq.heappop(self._heads)
        self._pull(number)
        return record

    def close(self) -> None:
        for source in self._sources:
            source.close()

    def _pull(self, number: int) -> None:
        try:
            found = self._sources[number].next()
        except OSError:  # the disk refuses: what came before stays
            found = None
        if found is None:
            self._silent.add(number)
            return
        self._silent.discard(number)
        heapq.heappush(self._heads, (found[0], number, found[1]))

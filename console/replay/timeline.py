"""The folder of a run as a line of time: who took part, when it began and how far it goes, and a tape from any moment.

    >>> timeline = Timeline(PastRun.open(Path("experiments/night")))
    >>> timeline.load()                         # its events; figures and output are read as they are told
    >>> moment = timeline.moment(timeline.at_step(1200))
    >>> moment.tape.take()

Times are those that the hosts wrote, each by its own clock. Figures are looked up by where they lie in their files, so
that a long run is as near as a short one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from motley.console.replay.line_reader import NEAR, LineReader, line_begin, place_of
from motley.console.replay.sources import (
    EventSource,
    LogSource,
    MetricsSource,
    Source,
    Tape,
    is_rank_log,
    metric,
    times_of,
)
from motley.console.report.past_run import PastRun
from motley.console.state.event_data import number, one_line
from motley.remote.experiment.local_names import logs, member_of
from motley.remote.experiment.printed_times import Times
from motley.remote.experiment.records import grouped, record_of
from motley.remote.feed import Layout, RankLayout
from motley.trainer.contract.wire import END_STATES, Event, Reading, Sample, Usage

WHOLE = 4 << 20  # bytes of figures: a run of so few is told from its beginning, wherever it goes on
MOST_EVENTS = 100_000
PROGRAMS = ("script", "module", "command")
BEFORE = 2 * NEAR  # bytes of figures that are told before a moment: what the screen shows is of the last steps
PRINTED = NEAR // 2  # bytes of each rank's output, the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A tape that begins somewhat before a time. `whole`: at the run's beginning; else `events` are what had happened
    until then, and steps before `step` are not on it."""

    tape: Tape
    whole: bool
    events: tuple[Event, ...] = ()
    step: int = 0


class Timeline:
    def __init__(self, past: PastRun) -> None:
        self.past = past
        self.events: list[Event] = []
        self._path = past.folder / "events.jsonl"
        self._reader: LineReader | None = None
        there = [path for path in logs(past.folder) if path.is_file() and not path.is_symlink()]
        if (past.folder / "logs").is_symlink():
            there = []
        self._figures = [path for path in there if path.suffix == ".jsonl"]
        self._printed = [path for path in there if is_rank_log(path)]
        self.small = sum(path.stat().st_size for path in self._figures) <= WHOLE
        self.first = self.last = 0.0  # when it began, and the newest moment that is here; `load` says

    @property
    def state(self) -> str:
        """How it ended; empty of a run that nothing says that of."""
        told = one_line(self.past.summary.get("state") or "")
        if told in END_STATES:
            return told
        ended = {event.host: one_line(event.data.get("state")) for event in self.events if event.kind == "ended"}
        groups = [event for event in self.events if event.kind == "group"]
        hosts = {one_line(row.get("host")) for event in groups for row in grouped(event)}
        states = set(ended.values()) if ended and hosts <= ended.keys() else set()
        return next((state for state in ("failed", "lost", "stopped", "finished") if state in states), "")

    def load(self) -> None:
        """The events. What of them can't be read is passed over."""
        self.listen()
        self.events.sort(key=lambda event: event.time)
        begun = [event.time for event in self.events[:1]]
        self.first = min(
            [*begun, *(head.time for path in self._figures for head in islice(_from(path, 0), 1))], default=0.0
        )
        self.look()

    def look(self) -> None:
        """How far it goes by now."""
        self.last = max([self.last, *(event.time for event in self.events[-1:])])
        for path in self._figures:
            newest = _from(path, line_begin(path, path.stat().st_size - NEAR))
            self.last = max([self.last, *(found.time for found in newest)])

    def listen(self) -> None:
        """Events that were written since."""
        if self._reader is None and self._path.is_file() and not self._path.is_symlink():
            self._reader = LineReader(self._path)
        while self._reader is not None and len(self.events) < MOST_EVENTS:
            line = self._reader.next()
            if line is None:
                return
            record = record_of("", "events.jsonl", line) if line else None
            if isinstance(record, Event) and (record.host or record.source != "console"):
                self.events.append(record)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    def layout(self) -> Layout:
        """Who takes part, by the first group that was formed; others come as the events tell it."""
        settings = self.past.settings
        run, balance = settings.get("run", {}), settings.get("balance", {})
        program = next((one_line(run[key]) for key in PROGRAMS if run.get(key)), "")
        first = next((event for event in self.events if event.kind == "group" and grouped(event)), None)
        rows = grouped(first) if first is not None else []
        ranks = tuple(
            RankLayout(member=int(member), host=one_line(row.get("host", "?")), device=one_line(row.get("device", "")))
            for row in rows
            if (member := number(row.get("member"))) is not None
        )
        led = next((one_line(event.data.get("leader")) for event in self.events if event.kind == "leader"), "")
        return Layout(
            run=self.past.name,
            task=program or one_line(run.get("task") or ""),
            policy="" if program else one_line(balance.get("policy") or "dynamic"),
            global_batch=int(number(run.get("global_batch")) or 0),
            steps_total=None,
            leader=led or (first.host if first is not None else ""),
            ranks=ranks,
            emulated=frozenset(self.past.speeds),
            speeds=self.past.speeds,
            attached=True,
            script=bool(program),
        )

    def moment(self, at: float) -> Moment:
        """A tape from somewhat before `at`, which is a time. Raises OSError."""
        begins = {} if self.small or at <= self.first else {path: _before(path, at) for path in self._figures}
        heads = [head for path, begin in begins.items() for head in islice(_from(path, begin), 1)]
        if not any(begins.values()) or not heads:
            return Moment(tape=self._tape(), whole=True)
        since = min(head.time for head in heads)
        told = bisect_right(self.events, since, key=lambda event: event.time)
        steps = [head.step for head in heads if not isinstance(head, Usage)]
        tape = self._tape(begins, told, at)
        return Moment(tape=tape, whole=False, events=tuple(self.events[:told]), step=min(steps, default=0))

    def at_step(self, step: int) -> float:
        """When a step was made, by the rank whose file is the longest; the run's end for one that it never came to."""
        path = self._longest()
        if path is None:
            return self.last
        begin = place_of(path, lambda line: _step_of(path.name, line), step)
        made = (found.time for found in _from(path, begin) if not isinstance(found, Usage) and found.step >= step)
        return next(made, self.last)

    def at_part(self, part: float) -> float:
        """The time of what lies so far in the run's figures: 0 is its beginning, 1 its end."""
        path = self._longest()
        if part <= 0:
            return self.first
        if part >= 1:
            return self.last
        if path is None:
            return self.events[int(part * len(self.events))].time if self.events else self.first
        there = _from(path, line_begin(path, int(part * path.stat().st_size)))
        return next((found.time for found in there), self.last)

    def part_at(self, at: float) -> float:
        """How far in the run's figures a time lies, 0 to 1."""
        path = self._longest()
        if path is None:
            place = bisect_right(self.events, at, key=lambda event: event.time)
            return place / max(1, len(self.events))
        name = path.name
        reader = LineReader(path, place_of(path, lambda line: _time_of(name, line), at))
        try:
            begin = reader.at
            while (line := reader.next()) is not None:
                time = _time_of(name, line)
                if time is not None and time > at:
                    break
                begin = reader.at
        finally:
            reader.close()
        return begin / max(1, path.stat().st_size)

    def _longest(self) -> Path | None:
        return max((p for p in self._figures if p.stat().st_size), key=lambda p: p.stat().st_size, default=None)

    def _tape(self, begins: dict[Path, int] | None = None, told: int = 0, at: float | None = None) -> Tape:
        """Without `begins` from the run's beginning; else figures from there on, and the events after so many."""
        sources: list[Source] = [EventSource(self.events, told, self.listen)]
        sources += [MetricsSource(path, (begins or {}).get(path, 0)) for path in self._figures]
        hosts = {
            int(member): one_line(row.get("host", ""))
            for event in self.events
            for row in (grouped(event) if event.kind == "group" else ())
            if (member := number(row.get("member"))) is not None
        }
        since = self.first if at is None else at
        for path in self._printed:
            member, times = member_of(path), times_of(path)
            begin = _printed_from(path, times, at)
            sources.append(LogSource(path, begin, hosts.get(-1 if member is None else member, ""), since, times))
        return Tape(sources)


def _printed_from(path: Path, times: Times, at: float | None) -> int:
    """The byte of a log to begin with: somewhat before what was printed later than `at`, of None its first; somewhat
    before its end where nobody knows when any of it was."""
    if not times.known:
        return line_begin(path, path.stat().st_size - PRINTED)
    return 0 if at is None else line_begin(path, times.begin_after(at) - PRINTED)


def _time_of(name: str, line: bytes) -> float | None:
    found = metric(name, line)
    return None if found is None else found.time


def _step_of(name: str, line: bytes) -> float | None:
    found = metric(name, line)
    return found.step if isinstance(found, (Sample, Reading)) else None


def _before(path: Path, at: float) -> int:
    """Where to begin, so that what was told just before a time is told, too."""
    return line_begin(path, place_of(path, lambda line: _time_of(path.name, line), at) - BEFORE)


def _from(path: Path, begin: int) -> Iterator[Sample | Reading | Usage]:
    """What can be read of a rank's figures from a byte on."""
    reader = LineReader(path, begin)
    try:
        while (line := reader.next()) is not None:
            found = metric(path.name, line)
            if found is not None:
                yield found
    finally:
        reader.close()

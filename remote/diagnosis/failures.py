"""Ranks that failed, the one that failed first on top: by the clocks of their hosts, and by what they said.

A session and the console's store let it hear everything a run tells, and ask for the report when they want it:

    >>> failures = Failures()
    >>> failures.hear(record)
    >>> report = failures.report()
    >>> report.headline, report.told
    ("rank 1 failed: ModuleNotFoundError: No module named 'einops'", 'einops is not installed on box1. On box1: …')
    >>> report.others
    ('0.4 s later: rank 0 on box0: RuntimeError: Connection closed by peer',)

When a rank fails, the others fail by it, and seldom in an order that says so: the first one may take a second to end,
the last word of its process may be late, and clocks differ by minutes. `in_order` is the rule, and pure.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from motley.remote.diagnosis.causes import OOM, Found, find
from motley.remote.diagnosis.host_clocks import Clocks
from motley.remote.diagnosis.tracebacks import LONGEST, Words, read
from motley.remote.feed import FeedRecord, Link
from motley.trainer.contract.wire import Event

UNSURE_S = 0.05  # by which the order of two hosts may be wrong: their clocks are measured over the network
WINDOW_S = 60.0  # what failed longer before the last failure did not end the run
NEAR = 6  # lines: an exception further up was not why something else killed the process
OTHERS = 6  # lines about the other ranks
NAMES = 4  # hosts or ranks that are named together
_SOURCE = re.compile(r"\[[./\w-]*/(\w+\.\w+:\d+)\]")  # where in its own sources gloo raised an error
FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, OOM})


class Order(IntEnum):
    """How good a candidate for the root an end is."""

    CAUSE = 0  # an error of its own
    SILENT = 1  # killed, and not by itself
    AFTERMATH = 2  # the word that another rank has gone
    TOLD = 3  # it was told to end, or gave up waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The end of one rank. `time` is on its host's clock."""

    host: str
    member: int
    time: float
    order: Order
    message: str  # one line
    words: Words = field(default_factory=Words)
    found: Found | None = None  # in the table of causes
    remedy: str = ""  # the trainer's own

    @property
    def name(self) -> str:
        return f"rank {self.member} on {self.host}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What to tell of the failures of a run."""

    root: Failure
    hosts: tuple[str, ...]  # where it was the same, the root's first
    headline: str
    told: str  # what it means and what mends it; empty where the table has nothing
    others: tuple[str, ...]  # a line each

    def cause(self, leader: str = "") -> str:
        """For summary.json and the last line of a command. `leader`: what the leader's own summary says."""
        root = self.root
        began = re.match(rf"rank {root.member} on {re.escape(root.host)} failed(?: at step \d+)?", leader)
        if root.order is Order.SILENT and leader and not began:  # it knows what was tried
            headline = leader
        else:
            headline = f"{began[0] if began else f'{root.name} failed'}: {root.message}"
        return f"{headline}. {self.told}" if self.told else headline


class Failures:
    """Hears a run. What a process said is read when it is heard; the order is made when it is asked for, by the newest
    measures of the clocks: what a host did before it was connected comes before its clock does."""

    def __init__(self, clocks: Clocks | None = None) -> None:
        """`clocks`: where they are measured already."""
        self.clocks = clocks or Clocks()
        self._faults: dict[int, Event] = {}  # when a rank failed, by its own word
        self._failed: dict[int, Failure] = {}

    def hear(self, record: FeedRecord) -> None:
        if isinstance(record, Link):
            self.clocks.hear(record)
        elif isinstance(record, Event):
            self._hear_event(record)

    def forget(self, host: str) -> None:
        """Its ranks start anew."""
        self._failed = {member: failure for member, failure in self._failed.items() if failure.host != host}

    def report(self) -> Report | None:
        """None while no rank has failed by a fault that is known."""
        return told_of(self._failed.values(), lambda failure: self.clocks.at(failure.host, failure.time))

    def _hear_event(self, event: Event) -> None:
        member = event.data.get("member")
        if not isinstance(member, int):
            return
        if event.kind == "fault":
            self._faults[member] = event
        elif event.kind == "rank_failed":
            self._failed[member] = failure_of(event, self._faults.get(member))
        elif event.kind == "phase" and event.data.get("phase") != "ended":
            self._faults.pop(member, None)  # another attempt, or another process
            self._failed.pop(member, None)


def failure_of(event: Event, fault: Event | None = None) -> Failure:
    """A `rank_failed` event, and what the rank itself had said of it. Data of hosts: whatever is odd is left out."""
    data, own = event.data, fault.data if fault is not None else {}
    code = own.get("code") if isinstance(own.get("code"), int) else data.get("code")
    ended_by = _signal(code if isinstance(code, int) else None)
    outside = ended_by in FROM_OUTSIDE
    if ended_by == signal.SIGKILL and _positive(data.get("oom_kills")):
        ended_by = OOM
    words = read(str(data.get("traceback") or "").splitlines(), near=NEAR if outside else None)
    error, remedy = str(own.get("error") or ""), str(own.get("remedy") or "")
    texts = (error, *words.texts) if error else words.texts
    host = event.host
    found = None if remedy else find(texts, ended_by, host=host, python=str(data.get("python") or ""))
    if data.get("root_cause") is False and fault is None:
        order = Order.TOLD
    elif found is not None and found.aftermath:
        order = Order.AFTERMATH
    elif (outside and not words.raised) or not (error or words.error or ended_by):
        order = Order.SILENT
    else:
        order = Order.CAUSE
    return Failure(
        host=host,
        member=int(data["member"]),
        time=fault.time if fault is not None else event.time,
        order=order,
        message=_SOURCE.sub(r"[\1]", _message(error, words, code if isinstance(code, int) else None, event)),
        words=words,
        found=found,
        remedy=remedy,
    )


def in_order(failures: Iterable[Failure], at: Callable[[Failure], float]) -> list[Failure]:
    """The root first, then the others by time. Empty when none of them can be the root. `at`: on one clock, seconds.

    What failed long before was survived. Of errors that two hosts had at the same time, as far as can be told, one
    that the table of causes knows is taken for the root of one that it does not.
    """
    kept = list(failures)
    roots = [f for f in kept if f.order < Order.AFTERMATH] or [f for f in kept if f.order is Order.AFTERMATH]
    if not roots:
        return []
    since = max(map(at, roots)) - WINDOW_S
    root = first = min((f for f in roots if at(f) >= since), key=lambda f: (f.order, at(f)))
    if first.order is Order.CAUSE and first.found is None:
        near = [f for f in roots if f.order is first.order and f.found is not None and f.host != first.host]
        near = [f for f in near if 0 <= at(f) - at(first) <= UNSURE_S]
        root = min(near, key=at, default=first)
    others = [f for f in kept if f is not root and at(f) >= since]
    return [root, *sorted(others, key=at)]


def told_of(failures: Iterable[Failure], at: Callable[[Failure], float]) -> Report | None:
    """The report on failures. `at` as for `in_order`."""
    ordered = in_order(failures, at)
    if not ordered:
        return None
    root, others = ordered[0], ordered[1:]
    same: list[Failure] = []
    ended: list[Failure] = []
    own: list[Failure] = []
    for f in others:
        alike = f.order is root.order and _alike(f.message) == _alike(root.message)
        (same if alike else ended if f.order is Order.TOLD else own).append(f)

    def when(some: Sequence[Failure]) -> str:
        return later(max(at(f) for f in some) - at(root))

    lines = [f"{when(same)}: so did {_listed([f.name for f in same])}"] if same else []
    room = OTHERS - len(lines) - bool(ended)
    rest = own[room - 1 :] if len(own) > room else []
    own = own[: len(own) - len(rest)]
    lines += [f"{when([f])}: {f.name}: {f.message}" for f in own]
    if rest:
        lines.append(f"{when(rest)}: {len(rest)} more ranks failed: see the log")
    if ended:
        lines.append(f"{when(ended)}: {_listed([f.name for f in ended])} ended after it")
    hosts = tuple(dict.fromkeys(f.host for f in (root, *same)))
    headline = root.message if len(hosts) > 1 else f"rank {root.member} failed: {root.message}"
    told = root.remedy or (root.found.told if root.found else "")
    return Report(root=root, hosts=hosts, headline=headline, told=told, others=tuple(lines))


def later(seconds: float) -> str:
    """
    >>> later(0.41), later(0.01), later(-95.0)
    ('0.4 s later', 'at the same time', '95 s before')
    """
    if abs(seconds) < UNSURE_S:
        return "at the same time"
    amount = f"{abs(seconds):.1f}" if abs(seconds) < 10 else f"{abs(seconds):.0f}"
    return f"{amount} s {'later' if seconds > 0 else 'before'}"


def _message(error: str, words: Words, code: int | None, event: Event) -> str:
    ended_by = _signal(code)
    if error:
        return error[:LONGEST]
    if ended_by is not None:
        how = f"ended by signal {ended_by}"
        with_name = f"{how} ({signal.Signals(ended_by).name})" if ended_by in _NAMED else how
        return f"{with_name}, after {words.error}" if words.raised else with_name
    if words.raised or (words.error and code is None):
        return words.error
    if words.error:
        return f"exit code {code}: {words.error}"
    return f"exit code {code}" if code is not None else event.text.partition(": ")[2] or event.text


def _signal(code: int | None) -> int | None:
    """The signal behind an exit code: minus it, or 128 more, as a script's is told of."""
    if code is None or 0 <= code <= 128 or code > 128 + 64:
        return None
    return -code if code < 0 else code - 128


def _alike(message: str) -> str:
    """Without what differs from one process to another: ports, pids, amounts."""
    return re.sub(r"\d[\d.]+", "#", message)


def _positive(value: object) -> bool:
    return isinstance(value, int) and value > 0


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMES]) + (f" and {len(names) - NAMES} more" if len(names) > NAMES else "")


_NAMED = frozenset(int(member) for member in signal.Signals)

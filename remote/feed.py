"""What a run tells whoever watches it: the console's store, the plain printer, a test.

A `Session` (remote.session.session) hands each record to one callback, in order, on the event loop's thread:

* `wire.Sample`, `wire.Reading`, `wire.Usage` and `wire.Event`, as the hosts wrote them (text made safe at the boundary)
* `Layout` once the hosts are known, again when a host is brought in
* `Progress`, `Link`, `LogLine` and `PartialLine` while things happen
* `CaughtUp` once, of a run that was found on the hosts
* `ToldAnew` and `StepsBefore` of a replay that went to another place in the run
* `Ended` once, last

What a host has said may stand in each of them: their texts are made safe to show here, whoever makes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Union

from motley.remote.sanitize import clean, clean_table
from motley.trainer.contract.wire import Event, Reading, Sample, Usage

Stage = Literal["connect", "check", "packages", "push", "data", "start", "import", "join", "train", "stop", "measure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankLayout:
    member: int
    host: str
    device: str

    def __post_init__(self) -> None:
        _clean(self, "host", "device")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Who takes part. `emulated` names the hosts whose slowness is put on: the UI labels them."""

    run: str
    task: str
    policy: str
    global_batch: int
    steps_total: int | None  # None until a rank has counted the data
    leader: str
    ranks: tuple[RankLayout, ...]
    emulated: frozenset[str] = frozenset()
    speeds: dict[str, float] = field(default_factory=dict)  # of emulated hosts, where cluster.toml says
    attached: bool = False  # found on the hosts, not started here
    over: bool = False  # it had ended when it was found
    behind: bool = False  # what it has done so far comes first; `CaughtUp` ends that
    script: bool = False  # `task` is the user's own script, which reports no steps unless it becomes a session
    results: str = ""  # whose results are brought home: "rank0", "all", or none

    def __post_init__(self) -> None:
        _clean(self, "run", "task", "policy", "leader")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One line of long work on one host. `fraction` is None when its end is not known."""

    host: str
    stage: Stage
    text: str
    fraction: float | None = None
    done: bool = False
    failed: bool = False

    def __post_init__(self) -> None:
        _clean(self, "host", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The SSH connection to a host, as a viewer: down changes nothing for the run."""

    host: str
    up: bool
    text: str
    clock_offset_s: float = 0.0  # host clock minus master clock, less the time that the measure was on its way
    clock_late_s: float = 0.0  # the most that it may have been on its way, where what came before it had to be read

    def __post_init__(self) -> None:
        _clean(self, "host", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line of a rank's output."""

    host: str
    member: int
    text: str
    time: float | None = None  # when it was written, on the host's clock
    at_latest: bool = False  # it may have been written long before `time`
    exact: bool = False  # the host has kept `time` with the line: true to a second, of very long output to some

    def __post_init__(self) -> None:
        _clean(self, "host", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialLine:
    """The line that a rank is writing, as far as it is there: a progress bar, a prompt. Empty when there is none any
    more; of one that has its end a `LogLine` tells."""

    host: str
    member: int
    text: str

    def __post_init__(self) -> None:
        _clean(self, "host", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaughtUp:
    """All that a run had told before it was looked at has been passed on. `over`: it has ended by then."""

    over: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldAnew:
    """All that was told counts no more: the run is told again, from its beginning. Only a replay does so; whoever keeps
    what is told begins another store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsBefore:
    """Steps that were made before those that are told next, as the curves have them: of each step its number, its
    samples (or what the task counts besides them), milliseconds, and the sum of its loss over so many samples. What is
    not known of a step is 0."""

    steps: tuple[tuple[int, float, float, float, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The run reached an end state, or the hosts that did not answer are named. `summary` is summary.json."""

    state: str
    summary: dict[str, Any] = field(default_factory=dict)
    unanswered: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _clean(self, "state")
        object.__setattr__(self, "summary", clean_table(self.summary))


def _clean(record: object, *names: str) -> None:
    """Of a frozen record that is being made."""
    for name in names:
        object.__setattr__(record, name, clean(getattr(record, name)))


FeedRecord = Union[
    Sample, Reading, Usage, Event, Layout, Progress, Link, LogLine, PartialLine, CaughtUp, ToldAnew, StepsBefore, Ended
]

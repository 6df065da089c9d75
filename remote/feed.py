"""What a run tells whoever watches it: the console's store, the plain printer, a test.

A `Session` (remote.run) hands each record to one callback, in order, on the event loop's thread:

* `wire.Sample` and `wire.Event`, as the hosts wrote them (text made safe at the boundary)
* `Layout` once the hosts are known, again when a host is brought in
* `Progress`, `Link` and `LogLine` while things happen
* `Ended` once, last
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Union

from trainer.wire import Event, Sample

Stage = Literal["connect", "check", "packages", "push", "data", "start", "import", "join", "train", "stop", "measure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankLayout:
    member: int
    host: str
    device: str


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
    script: bool = False  # `task` is the user's own script: it tells of no steps, and shares out its work itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One line of long work on one host. `fraction` is None when its end is not known."""

    host: str
    stage: Stage
    text: str
    fraction: float | None = None
    done: bool = False
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The SSH connection to a host, as a viewer: down changes nothing for the run."""

    host: str
    up: bool
    text: str
    clock_offset_s: float = 0.0  # host clock minus master clock


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line of a rank's output, escapes stripped."""

    host: str
    member: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The run reached an end state, or the hosts that did not answer are named. `summary` is summary.json."""

    state: str
    summary: dict[str, Any] = field(default_factory=dict)
    unanswered: tuple[str, ...] = ()


FeedRecord = Union[Sample, Event, Layout, Progress, Link, LogLine, Ended]

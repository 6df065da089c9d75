"""The seam between the console and `remote`: what they ask of a run, and how one ends for them.

`cli` makes a `Plan` from the command line with real sessions; tests make one with a scripted session that plays
recorded records. The app knows nothing else of the outside.

    plan = Plan(cluster="home", open=lambda emit, ask: Session(cluster, run, emit=emit, ask=ask), ...)
    outcome = await run_plain(plan, ...)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from motley.console.control.cluster_watch import ClusterWatch
from motley.console.state.own_command import Paste, plainly
from motley.console.state.snapshot import Playback
from motley.remote.feed import Ended, FeedRecord
from motley.remote.session.checkpoint_now import Written
from motley.remote.ssh.new_host_keys import Ask

Emit = Callable[[FeedRecord], None]

STOP_S = (
    60.0  # for hosts to have ended what has begun, where their cluster.toml has not said yet how long that may take
)
EXIT_CODES = {"finished": 0, "running": 0, "failed": 1, "lost": 1, "stopped": 4}


class SessionLike(Protocol):
    """One run as this console sees it; `remote.session.session.Session` is the real one."""

    @property
    def run(self) -> str: ...

    @property
    def folder(self) -> Path: ...

    async def launch(self, *, resume: str | None = None, why_cold: str = "") -> None: ...

    async def take_over(self, old: SessionLike, *, resume: str | None) -> str: ...

    async def attach(self) -> None: ...

    async def wait(self) -> Ended: ...

    async def join(self, name: str) -> None: ...

    async def checkpoint(self) -> Written: ...

    async def stop(self, reason: str) -> Ended: ...

    async def close(self) -> None: ...


class PlaybackLike(Protocol):
    """What the keys of a replay ask of it; `console.replay.player.Player` is the real one."""

    def now(self) -> float: ...

    def view(self) -> Playback: ...

    def pause(self) -> None: ...

    def change_speed(self, factor: float) -> None: ...

    def step(self) -> None: ...

    def step_back(self) -> None: ...

    def seek(self, part: float) -> None: ...

    def jump(self, part: float) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A session that was opened, and what its records alone do not say."""

    session: SessionLike
    speeds: Mapping[str, float] = field(default_factory=dict)  # of emulated hosts
    epochs: int | None = None
    stop_bound_s: float = STOP_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the command line asked for.

    `open` makes the session of the first start or attach, `renew` one for a new run (from cluster.toml as it is then).
    Both may raise `remote.errors.MotleyError`, and have `Ask` asked about new host keys. `file` is looked at while the
    run is on, for hosts that are new in it. With `readonly` nothing can be changed from here. `closed` is called when
    the console has closed: it may wait for what is written beside the run. `playback` makes it a replay, whose clock is
    that of its run. `paste`: commands of ours that the user is told.
    """

    cluster: str
    open: Callable[[Emit, Ask], Awaitable[Opened]]
    renew: Callable[[Emit, Ask], Awaitable[Opened]]
    attach: bool = False
    resume: str | None = None
    start: bool = True
    readonly: bool = False
    file: ClusterWatch | None = None
    closed: Callable[[], None] = lambda: None
    playback: PlaybackLike | None = None
    paste: Paste = plainly


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How watching ended: what goes to stdout, what to narrate, and the exit code."""

    code: int
    data: dict[str, Any] | None = None
    text: str = ""


def left(run: str, paste: Paste) -> Outcome:
    """The user went, the run did not."""
    back = paste("attach", run)
    return Outcome(code=0, data={"run": run, "state": "running"}, text=f"'{run}' goes on. Come back: {back}")


def half_stopped(run: str, paste: Paste) -> Outcome:
    """The user went before every host had been told, or had answered."""
    text = f"'{run}' was being stopped; {paste('status')} tells what is left"
    return Outcome(code=1, data={"run": run, "state": "stopping"}, text=text)


def ended(run: str, record: Ended, paste: Paste) -> Outcome:
    """The run is over, and why when it failed; a host that did not answer a stop makes it a failure."""
    data = record.summary or {"run": run, "state": record.state}
    if record.unanswered:
        who = ", ".join(record.unanswered)
        text = f"{run}: no answer from {who}; ranks may run on there. When back: {paste('stop', run)}"
        return Outcome(code=1, data={**data, "unanswered": list(record.unanswered)}, text=text)
    cause = " ".join(str(data.get("cause") or "").split()) if record.state == "failed" else ""
    text = f"{run} {record.state}: {cause}" if cause else f"{run} {record.state}"
    return Outcome(code=EXIT_CODES.get(record.state, 1), data=data, text=text)

"""From the command line's words to a `Plan` with real sessions, and the choice between the screen and plain lines.

    code = follow(run_plan(config, overrides=("run.epochs=3",)), plain=False)

What a session needs (asyncssh) and what the screen needs (Textual) is imported when cluster.toml has proved right.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from console import asking
from console.clusterfile import ClusterFile
from console.session import Emit, Opened, Outcome, Plan
from remote.cluster import Cluster, check_run_name, load, new_run_name
from remote.introduced import Ask, nobody
from remote.script_keys import check_resume


def run_plan(
    config: Path,
    *,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
    name: str | None = None,
    resume: str | None = None,
    start: bool = True,
) -> Plan:
    """A new run of `config`. Raises `ConfigError` and `UsageError` at once, before a screen is drawn."""
    cluster = load(config, overrides, only)
    wanted = {host.name for host in cluster.hosts}
    left_out = [host.name for host in load(config, overrides).hosts if host.name not in wanted] if only else ()
    file = ClusterFile(config, left_out=left_out)
    for given in (name, resume):
        if given is not None:
            check_run_name(given)
    check_resume(cluster, resume)
    if cluster.run.script is not None:
        from remote.project import find

        find(cluster)

    async def first(emit: Emit, ask: Ask) -> Opened:
        return _opened(cluster, name or new_run_name(cluster, _now()), emit, ask)

    renew = _renewing(config, overrides, only)
    return Plan(cluster=cluster.name, open=first, renew=renew, resume=resume, start=start, file=file)


def attach_plan(config: Path, run: str | None, *, readonly: bool = False) -> Plan:
    """Back to a run that the hosts know: `run`, or the newest one; with `readonly` only to look at it."""
    cluster = load(config)

    async def found(emit: Emit, ask: Ask) -> Opened:
        from remote import runs

        return _opened(cluster, run or await runs.newest(cluster, ask), emit, ask, readonly)

    file = None if readonly else ClusterFile(config, unseen=True)  # it may have changed since the run began
    return Plan(cluster=cluster.name, open=found, renew=_renewing(config), attach=True, file=file, readonly=readonly)


def _renewing(
    config: Path, overrides: Sequence[str] = (), only: Sequence[str] = ()
) -> Callable[[Emit, Ask], Awaitable[Opened]]:
    """What makes the session of a new run, from cluster.toml as it is then."""

    async def anew(emit: Emit, ask: Ask) -> Opened:
        fresh = load(config, overrides, only)
        return _opened(fresh, new_run_name(fresh, _now()), emit, ask)

    return anew


def follow(plan: Plan, *, plain: bool, detach: bool = False) -> int:
    """Watch the plan's run to its end or the user's leaving; prints the outcome and returns the exit code."""
    if plain or detach or not on_terminal():
        from console.plain import run_plain

        outcome = asyncio.run(run_plain(plan, detach=detach, ask=asker()))
    else:
        from console.app import MotleyApp

        text = "the console ended unexpectedly; the run goes on: motley attach comes back to it"
        outcome = MotleyApp(plan).run() or Outcome(code=1, text=text)
    if outcome.text:
        print(outcome.text, file=sys.stderr)
    if outcome.data is not None:
        print_data(outcome.data)
    return outcome.code


def on_terminal() -> bool:
    """Textual reads stdin and draws on stderr; with stdout elsewhere the caller wants data, not a screen."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return os.environ.get("TERM") != "dumb" and all(s is not None and s.isatty() for s in streams)


def asker() -> Ask:
    """Asks about new host keys in a terminal; nobody where there is none."""
    return asking.known if asking.can_ask() else nobody


def print_data(data: dict[str, Any]) -> None:
    """One object on stdout, and nothing else. A reader that has gone changes nothing."""
    try:
        print(json.dumps(data, indent=2, ensure_ascii=False), flush=True)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the interpreter's own last flush


def _opened(cluster: Cluster, run: str, emit: Emit, ask: Ask, readonly: bool = False) -> Opened:
    from console.profiling import knows, store_of
    from remote.run import Session

    speeds = {host.name: host.speed for host in cluster.hosts if host.speed is not None}
    known = knows(cluster, store_of(cluster))
    session = Session(cluster, run, emit=emit, knows=known, ask=ask, readonly=readonly)
    epochs = cluster.run.epochs if cluster.run.steps is None and cluster.run.script is None else None
    return Opened(session=session, speeds=speeds, epochs=epochs)


def _now() -> datetime:
    return datetime.now(timezone.utc)

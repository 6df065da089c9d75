"""From the command line's words to a `Plan` with real sessions, and the choice between the screen and plain lines.

    code = follow(run_plan(config, overrides=("run.epochs=3",)), plain=False)

What a session needs (asyncssh) and what the screen needs (Textual) is imported when cluster.toml has proved right.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from motley.console.commands.json_output import print_data
from motley.console.control.cluster_watch import ClusterWatch
from motley.console.control.session_protocol import Emit, Opened, Outcome, Plan
from motley.console.control.terminal_prompts import asker, on_terminal
from motley.console.state.own_command import own_commands
from motley.console.tracking.tracked_feed import PlanTrackers
from motley.console.tracking.trackers import missing
from motley.remote.config.cluster import Cluster
from motley.remote.config.command_line import check_resume, check_run_name, new_run_name
from motley.remote.config.load import load
from motley.remote.config.toml_lines import key_lines
from motley.remote.errors import ConfigError
from motley.remote.feed import Ended, FeedRecord
from motley.remote.ssh.new_host_keys import Ask

GIVEN_BACK_S = 60.0  # for a scheduler to have ended a job, beyond what hosts need


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
    check_trackers(cluster)
    trackers = PlanTrackers()
    wanted = {host.name for host in cluster.hosts}
    left_out = [host.name for host in load(config, overrides).hosts if host.name not in wanted] if only else ()
    file = ClusterWatch(config, left_out=left_out)
    if name is not None:
        check_run_name(name)
    check_resume(resume)
    if cluster.has_project:
        from motley.remote.provision.project import find

        find(cluster)

    async def first(emit: Emit, ask: Ask) -> Opened:
        return _opened(cluster, name or new_run_name(cluster, _now()), emit, ask, trackers)

    renew = _renewing(config, trackers, overrides, only)
    return Plan(
        cluster=cluster.name,
        open=first,
        renew=renew,
        resume=resume,
        start=start,
        file=file,
        closed=trackers.close,
        paste=own_commands(config),
    )


def attach_plan(config: Path, run: str | None, *, readonly: bool = False) -> Plan:
    """Back to a run that the hosts know: `run`, or the newest one; with `readonly` only to look at it."""
    cluster = load(config)
    trackers = None if readonly else PlanTrackers()

    async def found(emit: Emit, ask: Ask) -> Opened:
        from motley.remote.session import runs

        return _opened(cluster, run or await runs.newest(cluster, ask), emit, ask, trackers, readonly=readonly)

    file = None if readonly else ClusterWatch(config, unseen=True)  # it may have changed since the run began
    renew = _renewing(config, trackers)
    plan = Plan(
        cluster=cluster.name,
        open=found,
        renew=renew,
        attach=True,
        file=file,
        readonly=readonly,
        paste=own_commands(config),
    )
    return plan if trackers is None else replace(plan, closed=trackers.close)


def _renewing(
    config: Path, trackers: PlanTrackers | None, overrides: Sequence[str] = (), only: Sequence[str] = ()
) -> Callable[[Emit, Ask], Awaitable[Opened]]:
    """What makes the session of a new run, from cluster.toml as it is then."""

    async def anew(emit: Emit, ask: Ask) -> Opened:
        fresh = load(config, overrides, only)
        return _opened(fresh, new_run_name(fresh, _now()), emit, ask, trackers)

    return anew


def follow(plan: Plan, *, plain: bool, detach: bool = False, history: bool = False) -> int:
    """Watch the plan's run to its end or the user's leaving; prints the outcome and returns the exit code."""
    if plain or detach or not on_terminal():
        from motley.console.commands.plain import Printer, run_plain

        printer = Printer(history=history, paste=plan.paste)
        outcome = asyncio.run(run_plain(plan, detach=detach, printer=printer, ask=asker()))
    else:
        from motley.console.tui.app import MotleyApp

        text = f"the console ended unexpectedly; the run goes on: {plan.paste('attach')} comes back to it"
        outcome = MotleyApp(plan).run() or Outcome(code=1, text=text)
    plan.closed()
    if outcome.text:
        print(outcome.text, file=sys.stderr)
    if outcome.data is not None:
        print_data(outcome.data)
    return outcome.code


def check_trackers(cluster: Cluster) -> None:
    """Raises ConfigError where `[track] with` names one that is not installed."""
    if absent := missing(cluster.track.with_ or ()):
        line = key_lines(cluster.text).get(("track", "with"))
        where = f"{cluster.path.name}:{line}" if line else cluster.path.name
        raise ConfigError(str(cluster.path), [f"{where}: track.with: {text}" for text in absent])


def _opened(
    cluster: Cluster, run: str, emit: Emit, ask: Ask, trackers: PlanTrackers | None, *, readonly: bool = False
) -> Opened:
    from motley.console.commands.stored_profiles import knows, store_of
    from motley.console.report.digest import begin_digest
    from motley.remote.experiment.folder import experiments_folder
    from motley.remote.placement.placement import is_placed
    from motley.remote.session.session import STOP_BOUND_S, Session

    speeds = {host.name: host.speed for host in cluster.hosts if host.speed is not None}
    known = knows(cluster, store_of(cluster))
    if trackers is not None:
        emit = trackers.feed(cluster.track, experiments_folder(cluster) / run, cluster.name, emit)

    def tell(record: FeedRecord) -> None:
        emit(record)
        if isinstance(record, Ended) and not readonly:
            begin_digest(session.folder)

    session = Session(cluster, run, emit=tell, knows=known, ask=ask, readonly=readonly)
    epochs = cluster.run.epochs if cluster.run.steps is None and cluster.run.program is None else None
    bound_s = cluster.run.stop_grace_s + STOP_BOUND_S + (GIVEN_BACK_S if is_placed(cluster) else 0.0)
    return Opened(session=session, speeds=speeds, epochs=epochs, stop_bound_s=bound_s)


def _now() -> datetime:
    return datetime.now(timezone.utc)

"""The runs that the hosts of a cluster know of: listing them, stopping one, reading its logs.

Everything comes from the hosts' own state, so it works from any machine with the cluster.toml.

    >>> await status(cluster)
    {'runs': [{'run': 'night', 'state': 'running', 'step': 812,
               'hosts': [{'name': 'box1', 'state': 'running', 'left': 3}]}]}
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from math import inf
from typing import Any, TypeGuard

from motley.remote.config.cluster import Cluster
from motley.remote.diagnosis.failures import Failures
from motley.remote.diagnosis.host_clocks import Clocks
from motley.remote.end_tasks import end
from motley.remote.errors import HostError, RunFailed, UsageError
from motley.remote.experiment.folder import Experiment, experiments_folder
from motley.remote.experiment.recorded_cause import recorded_cause
from motley.remote.experiment.records import grouped
from motley.remote.feed import Ended, FeedRecord, Layout, Link, LogLine, Progress
from motley.remote.hosts.pool import Hosts
from motley.remote.launch.placement import Knows
from motley.remote.placement.placement import is_placed
from motley.remote.provision.push_code import Tree
from motley.remote.quoting import pasteable
from motley.remote.rpc.verbs import Verbs
from motley.remote.session.away_hosts import away
from motley.remote.session.checkpoint_now import Written
from motley.remote.session.placed.job_status import status_of_jobs
from motley.remote.session.run_log import LogRow, rows_of
from motley.remote.session.session import Session
from motley.remote.ssh.new_host_keys import Ask, introduced, new_keys, nobody
from motley.trainer.contract.wire import Event

OLDER_S = 1.0  # what is older than the joining by more is of before it: clocks are known to less
JOIN_S = 180.0  # from the start of a host's ranks to their first group: importing torch takes most of it

JOINING = {  # what a host that joins is waited for: some of it takes long, and nothing else is heard meanwhile
    "importing torch": "importing torch, which takes some seconds",
    "loading data": "loading the data",
    "joining": "ready; waits for the others to reach the end of a step",
}

Emit = Callable[[FeedRecord], None]


async def status(cluster: Cluster, ask: Ask = nobody) -> dict[str, Any]:
    """The object of `motley status --json`; hosts that do not answer are listed under `unreachable`."""
    if is_placed(cluster):
        return await status_of_jobs(cluster, lambda placed: _status(placed, ask))
    return await _status(cluster, ask)


async def _status(cluster: Cluster, ask: Ask) -> dict[str, Any]:
    async with Hosts(cluster) as hosts:
        verbs = Verbs(hosts, Tree.installed())

        async def look() -> list[list[dict[str, Any]] | HostError]:
            return list(await asyncio.gather(*(_ask(verbs, host.name) for host in cluster.hosts)))

        answers = dict(zip((host.name for host in cluster.hosts), await introduced(look, new_keys, ask), strict=True))
        for name in away(cluster, answers):
            await verbs.send_away(name)
            answers[name] = await _ask(verbs, name)
    tables = {name: answer for name, answer in answers.items() if not isinstance(answer, HostError)}
    silent = [
        {"host": error.host, "cause": error.cause, "remedy": error.remedy}
        for error in answers.values()
        if isinstance(error, HostError)
    ]
    return {"runs": merge(tables), **({"unreachable": silent} if silent else {})}


def merge(tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """What each host says of its runs -> one entry a run, the newest first. The leader's word on state and step counts;
    while it does not answer, the state is what the others say."""
    runs: dict[str, dict[str, Any]] = {}
    for name, rows in tables.items():
        for row in rows:
            entry = runs.setdefault(str(row["run"]), {"state": row["state"], "step": None, "hosts": [], "started": 0.0})
            entry["hosts"].append({"name": name, "state": row["state"], "left": row["left"]})
            entry["started"] = max(entry["started"], float(row["started"]))
            if row["leader"] == name:
                entry.update(state=row["state"], step=row.get("step"))
                entry.update(_rates(row))
            layout = row.get("layout")
            if isinstance(layout, dict) and (old := layout.get("resumed_from")):
                entry["resumed_from"] = str(old)
            if row.get("cause"):
                entry["cause"] = row["cause"]
    newest = sorted(runs.items(), key=lambda item: -item[1]["started"])
    return [{"run": run, **{k: v for k, v in entry.items() if k != "started"}} for run, entry in newest]


def _rates(row: Mapping[str, Any]) -> dict[str, float]:
    """Samples a second, and whatever else the run's task counts, as the leader's summary has them."""
    rates = row.get("rates")
    told = rates.items() if isinstance(rates, dict) else ()
    return {name: float(value) for name, value in told if name.endswith("_per_s") and isinstance(value, (int, float))}


async def newest(cluster: Cluster, ask: Ask = nobody) -> str:
    """The run to attach to when none is named: the newest that is on, else the newest. Raises UsageError."""
    found = await status(cluster, ask)
    on = [run for run in found["runs"] if run["state"] in ("queued", "starting", "running")]
    for run in (*on, *found["runs"]):
        return str(run["run"])
    silent = [row["host"] for row in found.get("unreachable", [])]
    raise UsageError("the hosts know of no run" + (f"; no answer from {', '.join(silent)}" if silent else ""))


async def stop(
    cluster: Cluster, run: str, reason: str, told: Callable[[str], None] = lambda _: None
) -> tuple[Ended, bool]:
    """Stop a run from anywhere, and say whether it had ended before on every host. `told` hears of each host that can't
    be asked from this machine.

    Raises UsageError when no host knows it.
    """
    records: list[FeedRecord] = []
    session = Session(cluster, run, emit=records.append)
    try:
        await session.attach()
        for error in session.away:
            told(error.cause)
        ended = await session.stop(reason)
        return ended, any(isinstance(record, Layout) and record.over for record in records)
    finally:
        await session.close()


async def join(cluster: Cluster, run: str, host: str, emit: Emit, knows: Knows) -> None:
    """Bring a host into a run from anywhere; returns once it trains with the others. `emit` hears how it goes.

    Raises what `Session.join` does, and RunFailed when its ranks do not join.
    """
    joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    began = inf  # when the host was asked to come
    failures, clocks = Failures(), Clocks()

    def hear(record: FeedRecord) -> None:
        if isinstance(record, Link):
            clocks.hear(record)
        if isinstance(record, Event) and of_before(record, began, clocks):
            return  # what a host has told is read anew when it comes back
        if began < inf:
            failures.hear(record)
        if isinstance(record, Progress) and record.host == host:
            emit(record)
        if isinstance(record, Event) and record.host in (host, "console"):
            emit(record)
            if (phase := waits_for(record)) is not None:
                emit(phase)
        if isinstance(record, Event) and not joined.done():
            if record.kind == "group" and any(member.get("host") == host for member in grouped(record)):
                joined.set_result(None)
            elif record.kind == "rank_failed" and record.host == host:
                report = failures.report()
                cause = report.cause() if report is not None else f"{host}: {record.text}"
                logs_of = pasteable(["motley", "logs", run])
                joined.set_exception(RunFailed(f"{cause}. {logs_of} shows what it printed"))

    session = Session(cluster, run, emit=hear, knows=knows)
    try:
        await session.attach(revive=False)
        await session.caught_up()
        began = time.time()
        await session.join(host)
        await asyncio.wait_for(joined, JOIN_S)
    except asyncio.TimeoutError as error:
        text = (
            f"{host} was started, and has not joined '{run}' within {JOIN_S:.0f} s: "
            f"{pasteable(['motley', 'attach', run])} shows how it is"
        )
        raise RunFailed(text) from error
    finally:
        joined.cancel()
        await session.close()


def of_before(event: Event, began: float, clocks: Clocks) -> bool:
    """Whether the event is older than `began`, on the master's clock."""
    return clocks.at(event.host, event.time) < began - OLDER_S


def waits_for(event: Event) -> Progress | None:
    """What the user waits for while a host joins, where an event tells of a phase that may take long."""
    said = JOINING.get(str(event.data.get("phase"))) if event.kind == "phase" else None
    return Progress(host=event.host, stage="join", text=said, done=True) if said else None


async def drop(cluster: Cluster, run: str, host: str, told: Callable[[str], None] = lambda _: None) -> bool:
    """Take a host out of a run from anywhere. Returns whether the host said that no process is left there.

    `told` hears what is done, as it begins.
    Raises what `Session.drop` does.
    """
    session = Session(cluster, run, emit=lambda _: None)
    try:
        told(f"looking for '{run}' on the hosts")
        await session.attach(revive=False)
        told(f"taking {host} out of '{run}': its ranks end, the others go on")
        return await session.drop(host)
    finally:
        await session.close()


async def checkpoint(cluster: Cluster, run: str, told: Callable[[str], None]) -> Written:
    """Have a run write a checkpoint now, from anywhere. `told` hears what is done, as it begins.

    Raises what `Session.checkpoint` does.
    """
    session = Session(cluster, run, emit=lambda _: None)
    try:
        told(f"looking for '{run}' on the hosts")
        await session.attach(revive=False)
        await session.caught_up()
        told("a checkpoint is written at the end of the step")
        return await session.checkpoint()
    finally:
        await session.close()


async def logs(
    cluster: Cluster, run: str, member: int | None, follow: bool, told: Callable[[str], None] = lambda _: None
) -> AsyncGenerator[LogRow, None]:
    """What happened and what the ranks printed: from the experiment folder and the hosts; with `follow` until the end.

    With `member` only what that rank printed. What was there before comes in order (`remote.session.run_log`), then,
    with `follow`, what is new as it comes.

    After the last line `told` is called with the hosts whose newest lines are missing, as they can't be reached, and
    with the cause, when ranks have failed.
    Raises UsageError when the run has no rank `member`.
    """
    queue: asyncio.Queue[Event | LogLine | None] = asyncio.Queue()
    before: list[Event | LogLine] = []
    ranks: set[int] = set()
    reached: dict[str, bool] = {}

    def emit(record: FeedRecord) -> None:
        if isinstance(record, Link):
            reached[record.host] = record.up
        if isinstance(record, Layout):
            ranks.update(rank.member for rank in record.ranks)
        if _belongs(record, member):
            queue.put_nowait(record)

    folder = experiments_folder(cluster) / run
    if not follow and (folder / "summary.json").exists():
        recorded = Experiment(folder)
        _check_rank(run, member, recorded.members())
        for row in rows_of(record for record in recorded.replay() if _belongs(record, member)):
            yield row
        if cause := recorded_cause(folder):
            told(cause)
        return
    session = Session(cluster, run, emit=emit)
    tasks: list[asyncio.Task[object]] = []
    try:
        await session.attach()
        _check_rank(run, member, ranks)
        tasks.append(asyncio.create_task(session.caught_up()))
        tasks[0].add_done_callback(lambda _: queue.put_nowait(None))
        while (found := await queue.get()) is not None:
            before.append(found)
        await tasks[0]
        for row in rows_of(before):
            yield row
        if follow:
            tasks.append(asyncio.create_task(session.wait()))
            tasks[1].add_done_callback(lambda _: queue.put_nowait(None))
            while (found := await queue.get()) is not None:
                for row in rows_of([found], time.time()):
                    yield row
        if away := [host for host, up in reached.items() if not up]:
            told(f"{', '.join(away)} can't be reached: what was told there since the last look is missing")
        ended = await tasks[-1]
        if isinstance(ended, Ended):
            cause = str(ended.summary.get("cause") or "") if ended.state == "failed" else ""
        else:
            cause = session.failed.cause() if session.failed else ""
        if cause:
            told(cause)
    finally:
        await end(tasks)  # the reader may have gone first
        await session.close()


def _belongs(record: object, member: int | None) -> TypeGuard[Event | LogLine]:
    if isinstance(record, LogLine):
        return member in (None, record.member)
    return member is None and isinstance(record, Event)


def _check_rank(run: str, member: int | None, ranks: Collection[int]) -> None:
    if member is not None and ranks and member not in ranks:
        raise UsageError(f"'{run}' has no rank {member}: its ranks are {', '.join(map(str, sorted(ranks)))}")


async def _ask(verbs: Verbs, name: str) -> list[dict[str, Any]] | HostError:
    try:
        return await verbs.status(name)
    except HostError as error:
        return error

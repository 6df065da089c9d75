"""The preflight: all hosts at once are asked about themselves, then connect to each other, before anything is started.

`motley check` and `motley run` call `check`; `remote.judge` says what is not in order. A host that can't be reached is
known after `CONNECT_S`; one that is connected and slow has until `CHECK_S`.

    >>> async with Hosts(cluster) as hosts:
    ...     result = await check(hosts, print)
    >>> result.ok, result.findings
    (False, (Finding(host='box2', check='torch', level='error', cause='python3 has no torch', remedy='…'),))
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from remote import containers, data, environment
from remote.cluster import Cluster, Host
from remote.ending import end
from remote.errors import CheckFailed, CommandFailed, Finding, HostError, Unreachable
from remote.feed import Progress
from remote.hosts import Emit, Hosts, python_of
from remote.introduced import Ask, introduced, new_keys, nobody
from remote.judge import judge
from remote.judge_network import leader_address
from remote.meeting import Meeting, meet
from remote.placement import Knows, misfits, place, unknown
from remote.probe import SELF, Asked, Probe, probe
from remote.project import find
from trainer.spec import Member

CONNECT_S = 3.0  # of `motley check`, which is to be quick; a run is more patient
CHECK_S = 9.7  # from the first connection to the last answer
LEADER_S = 2.0  # how long the others wait for the leader's address
GATHER_S = 2.0  # how long those that have answered wait for those that have not, before they meet
NO_FILES = ("digits", "synthetic_image")  # data sets that [data] path is not for


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """`probes` of the hosts that answered, by name; `leader_address` is numeric, empty when it isn't known."""

    findings: tuple[Finding, ...]
    probes: dict[str, Probe]
    leader_address: str = ""

    @property
    def ok(self) -> bool:
        return not any(finding.level == "error" for finding in self.findings)


def _nothing(_probe: Probe, _host: str) -> None:
    """To be done early."""


async def check(
    hosts: Hosts,
    emit: Emit,
    part: Cluster | None = None,
    *,
    joins: str = "",
    probed: Callable[[Probe, str], object] = _nothing,
) -> CheckResult:
    """Findings in the order of the hosts. A host that fails is a finding, never an exception.

    `part`: the cluster with some of its hosts alone, its leader among them; nobody else is looked at. `joins`: the run
    that the others are to join. Its leader is at work in it, so only the way between it and them is looked at.
    `probed` is called for each host that has answered.
    """
    cluster = part or hosts.cluster
    loop = asyncio.get_running_loop()
    leader: asyncio.Future[str] = loop.create_future()
    ends = loop.time() + CHECK_S
    connected: set[str] = set()
    asked = Asked(ports=() if joins else cluster.leader_ports, data=_data(cluster))
    tasks = {
        host.name: asyncio.ensure_future(_ask(hosts, cluster, host, asked, leader, connected, emit, probed))
        for host in cluster.hosts
    }
    meeting = asyncio.ensure_future(_gather(hosts, tasks, connected))
    try:
        await asyncio.wait([*tasks.values(), meeting], timeout=ends - loop.time())
        await end([task for task in tasks.values() if not task.done()])
        met = await meeting  # bounded
    finally:
        await end([*tasks.values(), meeting])

    probes: dict[str, Probe] = {}
    errors: dict[str, HostError] = {}
    for name, task in tasks.items():
        if task.cancelled():
            remedy = "The machine may be overloaded; try again."
            errors[name] = Unreachable(name, f"it had not answered after {CHECK_S:g} s", remedy)
            emit(Progress(host=name, stage="check", text=errors[name].cause, done=True, failed=True))
            continue
        outcome = task.result()
        if isinstance(outcome, Probe):
            probes[name] = outcome
        else:
            errors[name] = outcome
    met = met.counting({name for name in probes if probes[name].address})
    findings = judge(cluster, probes, errors, met, joins=joins)
    return CheckResult(findings=findings, probes=probes, leader_address=leader_address(cluster, probes))


def members_of(cluster: Cluster, checked: CheckResult, knows: Knows = unknown) -> tuple[Member, ...]:
    """The ranks of a cluster that was checked. Raises CheckFailed with all findings when it can't train."""
    findings = list(checked.findings)
    members: tuple[Member, ...] = ()
    if checked.ok:
        members = place(cluster, checked.probes, knows)
        findings += misfits(cluster, members)
    if any(finding.level == "error" for finding in findings):
        raise CheckFailed(findings)
    return members


async def preflight(cluster: Cluster, emit: Emit, ask: Ask = nobody) -> tuple[Finding, ...]:
    """`motley check`: the findings alone, connections opened for it and closed again.

    `ask` is asked about host keys that nobody knows yet; then the check is made anew.

    Raises ConfigError for a script, a requirements file, a Dockerfile or a folder of data that is not there.
    """
    if cluster.run.script is not None:
        await asyncio.to_thread(find, cluster)
    await asyncio.to_thread(data.check_there, cluster)
    async with Hosts(cluster, CONNECT_S) as hosts:

        async def look() -> CheckResult:
            without = await environment.look(hosts, emit)
            looked = await containers.look(hosts, emit)
            checked = await check(hosts, emit)
            found = environment.not_built(hosts.cluster, checked.findings, without)
            return replace(checked, findings=containers.judged(hosts.cluster, found, looked))

        checked = await introduced(look, lambda found: new_keys(found.findings), ask)
    if not checked.ok:
        return checked.findings
    return (*checked.findings, *misfits(cluster, place(cluster, checked.probes)))


async def _ask(
    hosts: Hosts,
    cluster: Cluster,
    host: Host,
    asked: Asked,
    leader: asyncio.Future[str],
    connected: set[str],
    emit: Emit,
    probed: Callable[[Probe, str], object],
) -> Probe | HostError:
    """One host's answer. The leader's comes first, so that the others can say how they reach it."""
    name, leads = host.name, host.name == cluster.leader
    try:
        connection = await hosts.attempt(name, emit)
        if isinstance(connection, HostError):
            return connection
        connected.add(name)
        emit(Progress(host=name, stage="check", text="looking at Python, torch, devices and disk"))
        to = SELF if leads else await _wait_for(leader)
        found = await probe(connection, python_of(host), replace(asked, leader=to))
        if (inside := hosts.inside(name)) is not None:
            found = inside.seen_by(found)
        if leads:
            leader.set_result(found.server_address)
    except (CommandFailed, Unreachable) as error:
        emit(Progress(host=name, stage="check", text=error.cause, done=True, failed=True))
        return error
    finally:
        if leads and not leader.done():
            leader.set_result("")
    emit(Progress(host=name, stage="check", text=_in_short(found), fraction=1.0, done=True))
    probed(found, name)
    return found


async def _gather(
    hosts: Hosts, tasks: Mapping[str, asyncio.Task[Probe | HostError]], connected: Collection[str]
) -> Meeting:
    """Let the hosts meet once all have answered; those that can't be connected to are waited for until `GATHER_S`."""
    await asyncio.wait(tasks.values(), timeout=GATHER_S)
    while slow := [tasks[name] for name in connected if not tasks[name].done()]:
        await asyncio.wait(slow)
    outcomes = {name: task.result() for name, task in tasks.items() if task.done() and not task.cancelled()}
    probes = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Probe)}
    return await meet(hosts, probes)


def _data(cluster: Cluster) -> dict[str, str] | None:
    """The folder to look for; None where the task needs none, and for a script, which finds its data itself."""
    name = cluster.run.task.partition("/")[2]
    if cluster.data.path is None or name in NO_FILES or cluster.run.script is not None:
        return None
    return {"path": cluster.data.path, "name": name}


async def _wait_for(leader: asyncio.Future[str]) -> str:
    try:
        return await asyncio.wait_for(asyncio.shield(leader), LEADER_S)
    except asyncio.TimeoutError:
        return ""


def _in_short(found: Probe) -> str:
    devices = ", ".join(gpu.name for gpu in found.gpus) or f"{found.cores} cores"
    return f"Python {found.python}, torch {found.torch or 'missing'}, {devices}"

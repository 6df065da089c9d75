"""The preflight: every host is connected to and asked about itself, all at once, before anything is started.

`motley check` and `motley run` call `check`; `remote.judge` says what is not in order. Known within `CHECK_S`.

    >>> async with Hosts(cluster) as hosts:
    ...     result = await check(hosts, print)
    >>> result.ok, result.findings
    (False, (Finding(host='box2', check='torch', level='error', cause='python3 has no torch', remedy='…'),))
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from remote.cluster import Cluster
from remote.errors import CheckFailed, CommandFailed, Finding, HostError, Unreachable
from remote.feed import Progress
from remote.hosts import Emit, Hosts, python_of
from remote.judge import judge, leader_address
from remote.placement import Knows, misfits, place, unknown
from remote.probe import SELF, Probe, probe
from remote.project import find
from trainer.spec import Member

CHECK_S = 9.7  # from the first connection to the last answer
LEADER_S = 3.0  # how long the others wait for the leader's address


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """`probes` of the hosts that answered, by name; `leader_address` is numeric, empty when it isn't known."""

    findings: tuple[Finding, ...]
    probes: dict[str, Probe]
    leader_address: str = ""

    @property
    def ok(self) -> bool:
        return not any(finding.level == "error" for finding in self.findings)


async def check(hosts: Hosts, emit: Emit, part: Cluster | None = None) -> CheckResult:
    """Findings in the order of the hosts. A host that fails is a finding, never an exception.

    `part`: the cluster with some of its hosts alone, its leader among them.
    """
    cluster = part or hosts.cluster
    leader: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    started = asyncio.get_running_loop().time()
    tasks = {host.name: asyncio.ensure_future(_ask(hosts, cluster, host.name, leader, emit)) for host in cluster.hosts}
    left = CHECK_S - (asyncio.get_running_loop().time() - started)
    await asyncio.wait(tasks.values(), timeout=left)
    late = [task for task in tasks.values() if not task.done()]
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)

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
    address = leader_address(cluster, probes)
    return CheckResult(findings=judge(cluster, probes, errors), probes=probes, leader_address=address)


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


async def preflight(cluster: Cluster, emit: Emit) -> tuple[Finding, ...]:
    """`motley check`: the findings alone, connections opened for it and closed again.

    Raises ConfigError for a script that is not there.
    """
    if cluster.run.script is not None:
        await asyncio.to_thread(find, cluster)
    async with Hosts(cluster) as hosts:
        checked = await check(hosts, emit)
    if not checked.ok:
        return checked.findings
    return (*checked.findings, *misfits(cluster, place(cluster, checked.probes)))


async def _ask(hosts: Hosts, cluster: Cluster, name: str, leader: asyncio.Future[str], emit: Emit) -> Probe | HostError:
    """One host's answer. The leader's comes first, so that the others can say how they reach it."""
    leads = name == cluster.leader
    try:
        connection = await hosts.attempt(name, emit)
        if isinstance(connection, HostError):
            return connection
        emit(Progress(host=name, stage="check", text="looking at Python, torch, devices and disk"))
        to = SELF if leads else await _wait_for(leader)
        host = next(host for host in cluster.hosts if host.name == name)
        found = await probe(connection, python_of(host), to)
        if leads:
            leader.set_result(found.server_address)
    except (CommandFailed, Unreachable) as error:
        emit(Progress(host=name, stage="check", text=error.cause, done=True, failed=True))
        return error
    finally:
        if leads and not leader.done():
            leader.set_result("")
    emit(Progress(host=name, stage="check", text=_in_short(found), fraction=1.0, done=True))
    return found


async def _wait_for(leader: asyncio.Future[str]) -> str:
    try:
        return await asyncio.wait_for(asyncio.shield(leader), LEADER_S)
    except asyncio.TimeoutError:
        return ""


def _in_short(found: Probe) -> str:
    devices = ", ".join(gpu.name for gpu in found.gpus) or f"{found.cores} cores"
    return f"Python {found.python}, torch {found.torch or 'missing'}, {devices}"

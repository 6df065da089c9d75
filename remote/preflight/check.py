"""The preflight: all hosts at once are asked about themselves, then connect to each other, before anything is started.

`motley check` and `motley run` call `check`; `remote.preflight.judge` says what is not in order. A host that can't be
reached is known after `CONNECT_S`; one that is connected and slow has until `CHECK_S`.

    >>> async with Hosts(cluster) as hosts:
    ...     result = await check(hosts, print)
    >>> result.ok, result.findings
    (False, (Finding(host='box2', check='torch', level='error', cause='python3 has no torch', remedy='…'),))
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from motley.remote.config.cluster import Cluster
from motley.remote.end_tasks import end
from motley.remote.errors import OVERLOADED, Finding, HostError, Unreachable
from motley.remote.hosts.pool import Emit, Hosts
from motley.remote.preflight.host_check import Common, HostCheck, Prepares
from motley.remote.preflight.host_inspection import CARDS_S
from motley.remote.preflight.judge import judge
from motley.remote.preflight.judge_language_models import needs
from motley.remote.preflight.judge_network import leader_address
from motley.remote.preflight.power import power
from motley.remote.preflight.probe import Asked, Probe
from motley.remote.preflight.reachability import Reachability, Rendezvous
from motley.trainer.contract.task_name import IMAGE_FOLDER

CHECK_S = 9.7  # from the first connection to the last answer
CLOSE_S = 1.0  # for the conversations to end
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


async def check(
    hosts: Hosts,
    emit: Emit,
    part: Cluster | None = None,
    *,
    joins: str = "",
    early: Prepares | None = None,
) -> CheckResult:
    """Findings in the order of the hosts. A host that fails is a finding, never an exception.

    `part`: the cluster with some of its hosts alone, its leader among them; nobody else is looked at. `joins`: the run
    that the others are to join. Its leader is at work in it, so only the way between it and them is looked at.
    `early` makes further use of the conversations with those that have answered.
    """
    cluster = part or hosts.cluster
    loop = asyncio.get_running_loop()
    ends = loop.time() + CHECK_S
    asked = Asked(ports=() if joins else cluster.leader_ports, data=_data(cluster), command=_command(cluster))
    asked = replace(asked, libraries=tuple(needs(cluster)))
    common = Common(hosts, asked, emit, early)
    visits = [HostCheck(host, common, leads=host.name == cluster.leader) for host in cluster.hosts]
    common.reached += [visit.reached for visit in visits if visit.host.name != cluster.leader]
    tasks = {visit: asyncio.ensure_future(visit.run()) for visit in visits}
    answers: list[asyncio.Future[Any]] = [visit.answered for visit in visits]
    meeting = asyncio.ensure_future(_gather(visits, common))
    try:
        await asyncio.wait([meeting, *answers], timeout=ends - loop.time())
        if patient := [visit.answered for visit in visits if visit.asks_torch and not visit.answered.done()]:
            await asyncio.wait(patient, timeout=CARDS_S)
        slow = [visit for visit in visits if not visit.answered.done()]
        await end([tasks[visit] for visit in slow])
        for visit in slow:
            cause = f"it had not answered after {CHECK_S:g} s"
            visit.give_up(Unreachable(visit.host.name, cause, OVERLOADED))
        met = await meeting  # bounded
        await asyncio.wait(tasks.values(), timeout=CLOSE_S)
    finally:
        await end([*tasks.values(), meeting])
    for task in tasks.values():
        if not task.cancelled():
            task.result()  # raises what a visit should never fail with
    outcomes = {visit.host.name: visit.answered.result() for visit in visits}
    probes = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Probe)}
    errors = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, HostError)}
    met = met.counting({name for name in probes if probes[name].address})
    findings = judge(cluster, probes, errors, met, joins=joins, asleep=await asyncio.to_thread(_asleep, cluster))
    return CheckResult(findings=findings, probes=probes, leader_address=leader_address(cluster, probes))


def _asleep(cluster: Cluster) -> list[Finding]:
    mine = [host.name for host in cluster.hosts if host.way.only_one]
    return [Finding(name, "power", "warning", *found) for name in mine for found in power(Path("/"))]


async def _gather(visits: Sequence[HostCheck], common: Common) -> Reachability:
    """Let the hosts meet once all have answered; those that can't be connected to are waited for until `GATHER_S`."""
    await asyncio.wait([visit.answered for visit in visits], timeout=GATHER_S)
    while slow := [visit.answered for visit in visits if visit.connected and not visit.answered.done()]:
        await asyncio.wait(slow)
    outcomes = {visit.host.name: visit.answered.result() for visit in visits if visit.answered.done()}
    room = Rendezvous.of({name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Probe)})
    common.room.set_result(room)
    return await room.until_over()


def _command(cluster: Cluster) -> str:
    """The program of the hosts' that a run starts there; one with a path is in the project."""
    program = cluster.run.command[0] if cluster.run.command else ""
    return program if "/" not in program else ""


def _data(cluster: Cluster) -> dict[str, str] | None:
    """The folder to look for; None where the task needs none, and for a script, which finds its data itself. What is
    the user's own has no name: it may lie nowhere else."""
    name = cluster.dataset
    if cluster.data.path is None or name in NO_FILES or cluster.run.program is not None:
        return None
    return {"path": cluster.data.path, "name": name if name != IMAGE_FOLDER else ""}

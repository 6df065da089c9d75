"""Bringing a host into a run under way, and taking one out: what `Session.join` and `Session.drop` do.

A host that is new is checked as before a start, and gets our code. The host that leads gives its ranks their numbers
(`trainer.host.run_members`), and its coordinator lets them in at the end of a step; then the host gets a spec like the
others'. What it executes comes from this machine (`remote.session.own_run`), never from a host. One that fell out of
the run, or was taken out, comes back with what it has.

    >>> joined = await bring_in(verbs, "night", "box1", host, folder=folder, knows=knows, emit=emit)
    >>> [(member.member, member.device) for member in joined.members]
    [(3, 'cpu')]
"""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motley.remote.answers import using
from motley.remote.config.cluster import Cluster, Host
from motley.remote.config.load import load
from motley.remote.config.schema import nearest
from motley.remote.errors import CheckFailed, Finding, StartRefused, UsageError
from motley.remote.feed import Progress
from motley.remote.launch.all_hosts import Emit, having, push_all
from motley.remote.launch.placement import Knows, joining_spec, place
from motley.remote.launch.prepare_hosts import equipped
from motley.remote.preflight.check import check
from motley.remote.provision.data import placed
from motley.remote.provision.project import UserCode, project_of
from motley.remote.rpc.verbs import Verbs
from motley.remote.session.own_run import check_same, own_run
from motley.trainer.contract.backend import choose_backend
from motley.trainer.contract.run_changes import Lead
from motley.trainer.contract.spec import Member, Spec
from motley.trainer.devices.names import COLLECTIVES, kind_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """`members`: all ranks of the host, by their numbers; none when it came `back` with those it had."""

    members: tuple[Member, ...] = ()
    warnings: tuple[Finding, ...] = ()
    back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """What is to run on a host that was found in order, and with what."""

    cluster: Cluster  # its ranks find the data where it says
    user_code: UserCode | None
    python: str
    home: str
    devices: tuple[Member, ...]  # without numbers of their own
    warnings: tuple[Finding, ...]


def named_in(cluster: Cluster, name: str) -> Host:
    """The host as cluster.toml has it now. Raises ConfigError for a bad file, UsageError for a name not in it."""
    hosts = {host.name: host for host in load(cluster.path).hosts}
    if name not in hosts:
        raise UsageError(f"{cluster.path} has no host {name}; {nearest(name, list(hosts))}")
    return hosts[name]


async def bring_in(
    verbs: Verbs, run: str, leader: str, host: Host, *, folder: Path, knows: Knows, emit: Emit
) -> Joined:
    """`folder`: the run's experiment here. Raises CheckFailed with all findings, UsageError when the run does not take
    it, ConfigError, a HostError: then nothing of the run was started there."""
    table = await _table(verbs, leader, run)
    with using(leader, "status"):
        lead = Lead.from_table(table["lead"])
        ipaddress.ip_address(lead.address)
        known = {str(m["host"]): bool(m.get("dropped")) for m in table["layout"]["members"]}
    if host.name in known:
        await _bring_back(verbs, run, leader, host.name, dropped=known[host.name])
        return Joined(back=True)
    spec = await verbs.spec(leader, run)
    own = own_run(verbs.hosts.cluster, folder)
    ready = await _ready(verbs, run, lead, host, own, spec, knows, emit)
    roll = await verbs.admit(leader, run, host.name, ready.devices)
    with using(leader, "roll"):
        members = numbered(roll.members(spec.members), host.name, ready.devices)
    mine = joining_spec(
        ready.cluster, run, host, members, lead, token=spec.token, user_code=ready.user_code, python=ready.python,
        container=verbs.hosts.container(host.name),
    )  # fmt: skip
    emit(Progress(host=host.name, stage="start", text="starting ranks"))
    try:
        await verbs.supervise(mine, ready.python, f"{ready.home}/.motley/runs/{run}/{host.name}")
    except StartRefused:
        await verbs.drop(leader, run, host.name)
        raise
    emit(Progress(host=host.name, stage="start", text="ranks started", fraction=1.0, done=True))
    return Joined(members=mine.local_members, warnings=ready.warnings)


async def _ready(
    verbs: Verbs, run: str, lead: Lead, host: Host, own: Cluster, spec: Spec, knows: Knows, emit: Emit
) -> _Ready:
    """Check the host together with the one that leads, and bring our code, the project and the data there."""
    hosts = verbs.hosts
    project, user_code = await asyncio.to_thread(project_of, own)
    host, data = await equipped(hosts, host.name, emit)
    check_same(own, spec, user_code=user_code, folder=data)
    part = dataclasses.replace(hosts.cluster, leader=lead.leader, hosts=(hosts.named(lead.leader), host))
    checked = await check(hosts, lambda record: emit(record) if record.host == host.name else None, part, joins=run)
    findings = [f for f in checked.findings if f.host == host.name or f.level == "error"]
    devices: tuple[Member, ...] = ()
    if host.name in checked.probes and not _failed(findings):
        devices = place(dataclasses.replace(part, leader=host.name, hosts=(host,)), checked.probes, knows)
        findings += _misfits(own, spec.members, devices)
    if _failed(findings):
        raise CheckFailed(findings)
    probe = checked.probes[host.name]
    if ipaddress.ip_address(lead.address).is_loopback and probe.boot_id != checked.probes[lead.leader].boot_id:
        text = f"'{run}' began on {lead.leader} alone, which leads it at {lead.address}: {host.name} can't get there"
        raise UsageError(f"{text}. Start a new run with both; --resume has it go on from the checkpoint of '{run}'")
    if await having(verbs, run, [host.name]):
        raise UsageError(f"{host.name} had a run named '{run}' before, which this one is not: it can't join it")
    if unable := await push_all(verbs, {host.name: probe}, emit, project):
        raise CheckFailed([*findings, *unable])
    return _Ready(
        cluster=placed(own, data), user_code=user_code, python=probe.executable, home=probe.home, devices=devices,
        warnings=tuple(findings),
    )  # fmt: skip


def numbered(members: tuple[Member, ...], host: str, devices: tuple[Member, ...]) -> tuple[Member, ...]:
    """The members as the host that leads has numbered them; of the one that joins nothing else is taken from there.

    Raises ValueError when it has not so many.
    """
    theirs = [member for member in members if member.host == host]
    if len(theirs) != len(devices):
        raise ValueError(f"{len(theirs)} ranks on {host}, which has {len(devices)} devices")
    mine = {m.member: dataclasses.replace(device, member=m.member) for m, device in zip(theirs, devices)}
    return tuple(mine.get(member.member, member) for member in members)


def _failed(findings: list[Finding]) -> bool:
    return any(finding.level == "error" for finding in findings)


def _misfits(own: Cluster, members: tuple[Member, ...], devices: tuple[Member, ...]) -> list[Finding]:
    """What the run of `members` can't do with the devices."""
    wanted = own.run.backend
    others = [m for m in devices if COLLECTIVES.get(kind_of(m.device)) != wanted]
    if wanted not in COLLECTIVES.values() or not others:
        try:
            choose_backend(wanted, (*members, *devices))
        except ValueError as error:
            return [Finding(devices[0].host, "backend", "error", str(error), "Give it other devices in cluster.toml.")]
        return []
    kind = next(kind for kind, library in COLLECTIVES.items() if library == wanted).upper()
    cause = f"it has {others[0].device}, and the run uses run.backend = '{wanted}', which needs {kind} everywhere"
    return [Finding(others[0].host, "backend", "error", cause, "Start the run with backend = 'auto' to mix devices.")]


async def _bring_back(verbs: Verbs, run: str, leader: str, name: str, *, dropped: bool) -> None:
    """A host that belongs to the run already."""
    known = next((row for row in await verbs.status(name) if row.get("run") == run), None)
    if known is None:
        raise UsageError(f"{name} belongs to '{run}', but has nothing of it any more: it can't come back")
    at_work = known.get("state") in ("starting", "running")
    if at_work and not dropped:
        raise UsageError(f"{name} is at work in '{run}' already")
    if at_work:  # it did not hear yet that it was taken out
        await verbs.stop(name, run, reason="motley join", timeout_s=60.0)
    if dropped:
        await verbs.admit(leader, run, name, ())
    await verbs.rejoin(name, run, ended=True)


async def _table(verbs: Verbs, leader: str, run: str) -> dict[str, Any]:
    """What the host that leads says of the run. Raises UsageError when it is not under way there."""
    table = next((row for row in await verbs.status(leader) if row.get("run") == run), None)
    if table is None:
        raise UsageError(f"{leader} knows no run '{run}': motley status lists what there is")
    if table.get("state") not in ("starting", "running"):
        raise UsageError(f"'{run}' is {table.get('state')}: nobody can join it")
    return table

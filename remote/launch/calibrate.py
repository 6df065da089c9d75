"""Measures every device of a cluster with the task of its run, and every host's link to the leader.

`motley profile` calls it and keeps what it returns; nothing is left running on the hosts.

    >>> async with Hosts(cluster) as hosts:
    ...     found = await calibrate(hosts, emit)
    >>> found.measured[0].result["gradient_bytes"], found.measured[0].link
    (264616, None)

Machines measure at the same time; hosts that share one, as demo hosts do, take turns. So do links: they may share a
cable. `keep` is given each device as soon as it is measured, before its link is: what is measured is not lost when the
rest is broken off.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from motley.remote.config.cluster import Cluster, Host
from motley.remote.errors import CheckFailed, CommandFailed, Finding, HostError
from motley.remote.feed import Progress
from motley.remote.hosts.pool import Emit, Hosts
from motley.remote.hosts.reach import RemoteProcess
from motley.remote.launch.calibration_progress import CalibrationProgress
from motley.remote.launch.measured_figures import fault, positive
from motley.remote.launch.placement import environment, place
from motley.remote.launch.prepare_hosts import looked_over, supplied
from motley.remote.launch.trainer_conversation import no_answer, remedy_of, said, trainer, within
from motley.remote.preflight.check import CheckResult
from motley.remote.preflight.probe import Probe
from motley.remote.provision.data import folder_of
from motley.remote.provision.project import UserCode, project_of
from motley.remote.provision.push_code import Tree
from motley.remote.rpc.verbs import Verbs
from motley.trainer.contract.calibration import Calibration
from motley.trainer.contract.spec import Container, Member

SILENT_S = 240.0  # without a word of a host that measures; it is given up
LINK_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One device: what the verbs `calibrate` and `link` said. `link` is None on the leader, or unknown."""

    member: Member
    probe: Probe
    result: dict[str, Any]
    link: dict[str, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    measured: tuple[Measured, ...]
    findings: tuple[Finding, ...]  # devices and links that could not be measured


Keep = Callable[[Measured], None]


async def calibrate(hosts: Hosts, emit: Emit, tree: Tree | None = None, *, keep: Keep = lambda _: None) -> Calibrated:
    """Every device that can be measured. Raises CheckFailed with all findings when the cluster is not in order,
    ConfigError when the files of a task or a script of the user's own are not."""
    project, user_code = await asyncio.to_thread(project_of, hosts.cluster)
    data = await folder_of(hosts.cluster, emit)
    checked = (await looked_over(hosts, emit)).checked
    if not checked.ok:
        raise CheckFailed(checked.findings)
    verbs = Verbs(hosts, tree or Tree.installed())
    cluster = await supplied(verbs, checked, emit, project=project, data=data)
    members = place(cluster, checked.probes)
    outcomes = await _devices(verbs, cluster, checked.probes, members, emit, keep, user_code)
    links = await _links(verbs, cluster, checked, emit)
    failures = [("calibrate", e) for e in outcomes if isinstance(e, HostError)]
    findings = [Finding(e.host, name, "error", e.cause, e.remedy) for name, e in failures]
    unmeasured = {id(e): e for e in links.values() if isinstance(e, HostError)}  # the leader's fault once, not for each
    findings += [Finding(e.host, "link", "warning", e.cause, e.remedy) for e in unmeasured.values()]
    figures = {name: link for name, link in links.items() if not isinstance(link, HostError)}
    measured = tuple(
        Measured(member=member, probe=checked.probes[member.host], result=outcome, link=figures.get(member.host))
        for member, outcome in zip(members, outcomes)
        if not isinstance(outcome, HostError)
    )
    return Calibrated(measured=measured, findings=tuple(findings))


async def _devices(
    verbs: Verbs,
    cluster: Cluster,
    probes: Mapping[str, Probe],
    members: Sequence[Member],
    emit: Emit,
    keep: Keep,
    user_code: UserCode | None,
) -> list[dict[str, Any] | HostError]:
    """In the order of the members. Devices of one machine take turns; demo hosts are one machine."""
    own_task = user_code.own_task if user_code is not None else None
    script = user_code.script if user_code is not None else None
    turns = {probe.boot_id: asyncio.Lock() for probe in probes.values()}
    hosts = {host.name: host for host in cluster.hosts}
    clock = time.monotonic
    progress = CalibrationProgress({_label(m): probes[m.host].boot_id for m in members})
    busy: dict[str, str] = {}  # what a machine measures, for those that wait for it

    async def one(member: Member) -> dict[str, Any] | HostError:
        asked = request(
            cluster, hosts[member.host], member, verbs.hosts.container(member.host),
            devices=sum(m.host == member.host for m in members), ranks=len(members),
            speeds=sum(m.speed or 0.0 for m in members if m.device == member.device),
        )  # fmt: skip
        machine = probes[member.host].boot_id

        def say(text: str, *, failed: bool = False) -> None:
            emit(Progress(host=member.host, stage="measure", text=text, fraction=1.0, done=True, failed=failed))

        if machine in busy:
            text = f"{member.device}: waits for {busy[machine]}: one machine measures one device at a time"
            emit(Progress(host=member.host, stage="measure", text=text))
        else:
            busy[machine] = _label(member)
        async with turns[machine]:
            busy[machine] = _label(member)
            progress.begin(_label(member), clock())
            try:
                result = await _device(verbs, member, replace(asked, own_task=own_task, script=script), emit)
            except HostError as error:
                progress.done(_label(member), clock())
                say(error.cause, failed=True)
                return error
            keep(Measured(member=member, probe=probes[member.host], result=result, link=None))
            say(f"{member.device} measured ({progress.done(_label(member), clock())})")
            return result

    return list(await asyncio.gather(*map(one, members)))


def _label(member: Member) -> str:
    return f"{member.host} {member.device}"


def request(
    cluster: Cluster,
    host: Host,
    member: Member,
    container: Container | None,
    *,
    devices: int,
    ranks: int,
    speeds: float,
) -> Calibration:
    return Calibration(
        options=cluster.run,
        data=cluster.data,
        device=member.device,
        batch=cluster.run.global_batch,
        share=max(1, min(cluster.run.global_batch // ranks, member.max_batch or cluster.run.global_batch)),
        devices=devices,
        max_batch=member.max_batch,
        env=environment(host),
        emulated=host.way.emulated,
        speed=host.speed,
        speeds=speeds,
        container=container,
    )


async def _device(verbs: Verbs, member: Member, asked: Calibration, emit: Emit) -> dict[str, Any]:
    """The result of one device. Raises a HostError with what the host said instead."""
    host, device = member.host, member.device
    emit(Progress(host=host, stage="measure", text=f"{device}: starting"))
    async with trainer(verbs, host, "calibrate") as process:
        await process.write(asked.to_json().encode() + b"\n")
        lines = process.lines()
        while (line := await within(SILENT_S, anext(lines, None), host, device)) is not None:
            table = said(host, "calibrate", line)
            if "error" in table:
                raise CommandFailed(host, f"{device}: {table['error']}", remedy_of(table))
            if "result" in table:
                if wrong := fault(table["result"]):
                    raise CommandFailed(host, f"{device}: its figures can't be used: {wrong}", "Report this.")
                return dict(table["result"])
            if "note" in table:
                emit(Progress(host=host, stage="measure", text=f"{device}: {table['note']}", fraction=_part(table)))
        raise await no_answer(host, process, f"{device} could not be measured", "Report this.")


def _part(table: Mapping[str, Any]) -> float | None:
    fraction = table.get("fraction")
    return min(float(fraction), 1.0) if positive(fraction) else None


async def _links(
    verbs: Verbs, cluster: Cluster, checked: CheckResult, emit: Emit
) -> Mapping[str, dict[str, float] | HostError]:
    """Every host but the leader, one after the other: `{"mbit", "latency_ms"}`, or why it is not known."""
    others = [host.name for host in cluster.hosts if host.name != cluster.leader]
    address, token = checked.leader_address, secrets.token_hex(32)
    secret = token.encode() + b"\n"
    found: dict[str, dict[str, float] | HostError] = {}
    if not others:
        return found
    try:
        async with trainer(verbs, cluster.leader, "link", "--listen", address) as listener:
            await listener.write(secret)
            port = await _figures(listener, cluster.leader, "port")
            for name in others:
                words = ("link", "--connect", address, "--port", str(int(port["port"])))
                emit(Progress(host=name, stage="measure", text="the network to the leader"))
                try:
                    async with trainer(verbs, name, *words) as process:
                        await process.write(secret)
                        table = await _figures(process, name, "mbit", "latency_ms")
                except HostError as error:
                    found[name] = error
                    emit(Progress(host=name, stage="measure", text=error.cause, done=True, failed=True))
                    continue
                found[name] = table
                text = f"{table['mbit']:.0f} Mbit/s, {table['latency_ms']:.2f} ms to the leader"
                emit(Progress(host=name, stage="measure", text=text, fraction=1.0, done=True))
    except HostError as error:
        return {**dict.fromkeys(others, error), **found}
    return found


async def _figures(process: RemoteProcess, host: str, *keys: str) -> dict[str, float]:
    """The first line with these numbers, all above 0. Raises CommandFailed when none comes in time."""

    async def first() -> dict[str, float]:
        async for line in process.lines():
            table = said(host, "link", line)
            if all(positive(table.get(key)) for key in keys):
                return {key: float(table[key]) for key in keys}
        remedy = "A firewall must let the hosts talk freely, and the leader needs an address of its own to listen on."
        raise await no_answer(host, process, "the network to the leader could not be measured", remedy)

    return await within(LINK_S, first(), host, "the network to the leader")

"""From checked hosts to ranks: which device gets which number, and the spec each host is given. Pure.

Rank 0 is on the leader, where the coordinator and the checkpoints are; the other hosts follow in the order of
cluster.toml, each with its devices in their order.

    >>> [(m.member, m.host, m.device) for m in place(cluster, probes)]
    [(0, 'desktop', 'cuda:0'), (1, 'laptop', 'cpu')]
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from motley.remote.config.cluster import Cluster, Host
from motley.remote.errors import Finding, UsageError
from motley.remote.feed import Layout, RankLayout
from motley.remote.hosts.this_machine import machines_of
from motley.remote.preflight.probe import Probe
from motley.remote.provision.project import UserCode
from motley.trainer.contract.backend import choose_backend, could_be_quicker
from motley.trainer.contract.run_changes import Lead
from motley.trainer.contract.spec import Container, Member, Spec
from motley.trainer.devices.names import CPU


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What is known of a device before a run has measured it. A step of b samples takes it `a_ms + c_ms * b`."""

    a_ms: float | None = None
    c_ms: float | None = None
    pass_limit: int | None = None  # the most samples of one pass that fit into its memory
    threads: int | None = None  # to compute with on a CPU, found by trying
    relative_speed: float | None = None  # a guess from its name
    link_mbit: float | None = None  # of its host to the leader
    link_latency_ms: float | None = None


Knows = Callable[[Host, str, Probe], Pace]  # of a device of a host


def unknown(_host: Host, _device: str, _probe: Probe) -> Pace:
    """Nothing."""
    return Pace()


def place(cluster: Cluster, probes: Mapping[str, Probe], knows: Knows = unknown) -> tuple[Member, ...]:
    """One member for every device of every host, with what is known of its speed."""
    ordered = sorted(cluster.hosts, key=lambda host: host.name != cluster.leader)
    found = [(host, local, device) for host in ordered for local, device in enumerate(devices(host, probes[host.name]))]
    paces = [knows(host, device, probes[host.name]) for host, _, device in found]
    if speeds_given(cluster):
        paces = [replace(pace, relative_speed=host.relative_speed or 1.0) for (host, _, _), pace in zip(found, paces)]
    return tuple(
        Member(
            member=number, host=host.name, local_rank=local, device=device, max_batch=host.max_batch,
            a_ms=pace.a_ms, c_ms=pace.c_ms, relative_speed=pace.relative_speed, pass_limit=pace.pass_limit,
            threads=pace.threads, link_mbit=pace.link_mbit, link_latency_ms=pace.link_latency_ms, speed=host.speed,
        )
        for number, ((host, local, device), pace) in enumerate(zip(found, paces))
    )  # fmt: skip


def speeds_given(cluster: Cluster) -> bool:
    """Whether cluster.toml says how fast hosts are against each other: then nothing is guessed."""
    return any(host.relative_speed for host in cluster.hosts)


def first_words(members: Sequence[Member], cluster: Cluster) -> str:
    """What the first shares come from, for the log; empty where they do not depend on speeds."""
    heedless = cluster.run.program is not None and not cluster.session
    if cluster.balance.policy == "static" or len(members) < 2 or heedless:
        return ""
    unknown = list(dict.fromkeys(m.host for m in members if m.a_ms is None))
    if not unknown:
        return "the first shares come from the profiles of all hosts"
    if any(m.a_ms is not None for m in members):
        return f"the first shares come from profiles; {', '.join(unknown)} without one: motley profile measures them"
    if speeds_given(cluster):
        return "the first shares follow relative_speed in cluster.toml; motley profile measures the hosts"
    if all(m.relative_speed for m in members):
        return "the first shares are guessed from the names of the devices; motley profile measures them"
    return "the first shares are equal; motley profile measures what each host can do beforehand"


def devices(host: Host, probe: Probe) -> tuple[str, ...]:
    """The devices to use: those named, else every GPU that its torch can use, else the CPU."""
    if host.devices != "auto":
        return host.devices
    return probe.usable_gpus or (CPU,)


def misfits(cluster: Cluster, members: tuple[Member, ...]) -> list[Finding]:
    """What can't be shared out: shares for another number of ranks, caps too small for the global batch. And which
    backend would be quicker."""
    if cluster.run.program is not None:  # it shares out its work itself
        return []
    total, shares = cluster.run.global_batch, cluster.balance.shares
    caps = [m.max_batch for m in members]
    if shares and len(shares) != len(members):
        cause = f"balance.shares has {len(shares)} entries, the hosts have {len(members)} devices"
        return [Finding(cluster.leader, "shares", "error", cause, "Give one share for each device, in rank order.")]
    room = sum(c for c in caps if c is not None)
    if None not in caps and room < total:
        cause = f"max_batch of all ranks together is {room}, run.global_batch is {total}"
        return [Finding(cluster.leader, "max_batch", "error", cause, "Raise max_batch or lower run.global_batch.")]
    try:
        quicker = could_be_quicker(cluster.run.backend, members)
        choose_backend(cluster.run.backend, members)
    except ValueError as error:
        remedy = (
            "Name CPUs, or cards of one kind, in devices of the hosts; or another [run] backend (docs/training.md)."
        )
        return [Finding(cluster.leader, "backend", "error", str(error), remedy)]
    if quicker:
        library = quicker.upper()
        cause = (
            f'all ranks are GPUs, and gloo carries their gradients: backend = "auto" takes {library} on one host only'
        )
        remedy = f'[run] backend = "{quicker}" is quicker, where a host that is lost may end the run (docs/elastic.md).'
        return [Finding(cluster.leader, "backend", "warning", cause, remedy)]
    return []


def layout(cluster: Cluster, run: str, members: tuple[Member, ...]) -> Layout:
    script = cluster.run.program
    return Layout(
        run=run,
        task=script or cluster.run.task,
        policy=cluster.balance.policy,
        global_batch=cluster.run.global_batch if script is None else 0,
        steps_total=cluster.run.steps if script is None else None,
        script=script is not None,
        leader=cluster.leader,
        ranks=tuple(RankLayout(member=m.member, host=m.host, device=m.device) for m in members),
        emulated=frozenset(h.name for h in cluster.hosts if h.way.emulated),
        speeds={h.name: h.speed for h in cluster.hosts if h.speed is not None},
        results=cluster.run.results_from if cluster.run.results else "",
    )


def layout_of(table: Mapping[str, Any]) -> Layout:
    """The layout of a run found on a host, from that host's `status`. Raises UsageError when it can't be read."""
    try:
        known = table["layout"]
        script = known.get("script")
        return Layout(
            run=str(table["run"]),
            task=str(script or known["task"]),
            policy=str(known["policy"]),
            global_batch=int(known["global_batch"]) if script is None else 0,
            steps_total=None if script is not None or known["steps"] is None else int(known["steps"]),
            script=script is not None and known.get("session") is not True,
            leader=str(table["leader"]),
            ranks=tuple(
                RankLayout(member=int(m["member"]), host=str(m["host"]), device=str(m["device"]))
                for m in known["members"]
                if not m.get("dropped")
            ),
            emulated=frozenset(m["host"] for m in known["members"]) if known["emulated"] else frozenset(),
            attached=True,
            results=known.get("results") if known.get("results") in ("rank0", "all") else "",
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"run {table.get('run')}: its host tells of it in another form ({error!r})") from error


def environment(host: Host) -> dict[str, str]:
    """What its ranks get: `env`, and the variables named in `pass_env`, taken from this process."""
    return {**host.env, **{name: os.environ[name] for name in host.pass_env if name in os.environ}}


def spec_for(
    cluster: Cluster,
    run: str,
    host: Host,
    members: tuple[Member, ...],
    *,
    token: str,
    leader_address: str,
    before_s: float,
    phases: Mapping[str, float],
    resume: str | None,
    resume_of: str = "",
    user_code: UserCode | None = None,
    python: str = "",
    container: Container | None = None,
) -> Spec:
    """The spec of one host. `user_code`: what of the user's own its ranks have."""
    return Spec(
        run=run,
        host=host.name,
        token=token,
        leader=cluster.leader,
        leader_address=leader_address,
        port=cluster.coordinator_port,
        members=members,
        options=cluster.run,
        balance=cluster.balance,
        elastic=cluster.elastic,
        data=cluster.data,
        env=environment(host),
        speed=host.speed,
        emulated=host.way.emulated,
        resume=resume,
        resume_of=resume_of,
        words=cluster.words,
        before_s=before_s,
        phases=dict(phases),
        script=user_code.script if user_code is not None else None,
        own_task=user_code.own_task if user_code is not None else None,
        own_policy=user_code.own_policy if user_code is not None else None,
        python=python,
        container=container,
        machines=machines_of(cluster),
    )


def next_specs(
    before: Spec,
    cluster: Cluster,
    run: str,
    *,
    token: str,
    before_s: float,
    resume: str | None,
    user_code: UserCode | None = None,
) -> list[Spec]:
    """The specs of a run that follows `before` in its processes: the same ranks, and what `cluster` says of the rest.

    `resume`: the name of that run, when the new one goes on from its last step. The files of `user_code` are there.
    """
    hosts = {host.name: host for host in cluster.hosts}
    members = tuple(
        replace(
            member,
            max_batch=hosts[member.host].max_batch,
            speed=hosts[member.host].speed,
            relative_speed=hosts[member.host].relative_speed
            or (1.0 if speeds_given(cluster) else member.relative_speed),
        )
        for member in before.members
    )
    return [
        spec_for(
            cluster, run, host, members, token=token, leader_address=before.leader_address, before_s=before_s,
            phases={"connect_s": 0.0, "push_s": 0.0},
            resume=f"~/.motley/runs/{resume}/{before.leader}/checkpoints" if resume else None,
            resume_of=resume or "", user_code=user_code,
        )
        for host in cluster.hosts
    ]  # fmt: skip


def joining_spec(
    cluster: Cluster,
    run: str,
    host: Host,
    members: tuple[Member, ...],
    lead: Lead,
    *,
    token: str,
    user_code: UserCode | None = None,
    python: str = "",
    container: Container | None = None,
) -> Spec:
    """The spec of a host that joins a run under way. What it is to do is what `cluster` says: of the host that leads
    come only the members, the token, and where it is."""
    spec = spec_for(
        cluster, run, host, members, token=token, leader_address=lead.address, before_s=0.0, phases={}, resume=None,
        user_code=user_code, python=python, container=container,
    )  # fmt: skip
    machines = machines_of(replace(cluster, hosts=(host,)))
    return replace(spec, leader=lead.leader, port=lead.port, term=lead.term, joins=True, machines=machines)

"""From checked hosts to ranks: which device gets which number, and the spec each host is given. Pure.

Rank 0 is on the leader, where the coordinator and the checkpoints are; the other hosts follow in the order of
cluster.toml, each with its devices in their order.

    >>> [(m.member, m.host, m.device) for m in place(cluster, probes)]
    [(0, 'desktop', 'cuda:0'), (1, 'laptop', 'cpu')]
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from remote.cluster import Cluster, Host
from remote.errors import Finding, UsageError
from remote.feed import Layout, RankLayout
from remote.probe import Probe
from trainer.spec import Member, Spec


def place(cluster: Cluster, probes: Mapping[str, Probe]) -> tuple[Member, ...]:
    """One member for every device of every host."""
    ordered = sorted(cluster.hosts, key=lambda host: host.name != cluster.leader)
    found = [(host, local, device) for host in ordered for local, device in enumerate(devices(host, probes[host.name]))]
    return tuple(
        Member(member=number, host=host.name, local_rank=local, device=device, max_batch=host.max_batch)
        for number, (host, local, device) in enumerate(found)
    )


def devices(host: Host, probe: Probe) -> tuple[str, ...]:
    """The devices to use: those named, else every CUDA device its torch can use, else the CPU."""
    if host.devices != "auto":
        return host.devices
    if probe.gpus and probe.torch_cuda:
        return tuple(f"cuda:{gpu.index}" for gpu in probe.gpus)
    return ("cpu",)


def misfits(cluster: Cluster, members: tuple[Member, ...]) -> list[Finding]:
    """What can't be shared out: shares for another number of ranks, caps too small for the global batch."""
    total, shares = cluster.run.global_batch, cluster.balance.shares
    caps = [m.max_batch for m in members]
    if shares and len(shares) != len(members):
        cause = f"balance.shares has {len(shares)} entries, the hosts have {len(members)} devices"
        return [Finding(cluster.leader, "shares", "error", cause, "Give one share for each device, in rank order.")]
    room = sum(c for c in caps if c is not None)
    if None not in caps and room < total:
        cause = f"max_batch of all ranks together is {room}, run.global_batch is {total}"
        return [Finding(cluster.leader, "max_batch", "error", cause, "Raise max_batch or lower run.global_batch.")]
    return []


def layout(cluster: Cluster, run: str, members: tuple[Member, ...]) -> Layout:
    return Layout(
        run=run,
        task=cluster.run.task,
        policy=cluster.balance.policy,
        global_batch=cluster.run.global_batch,
        steps_total=cluster.run.steps,
        leader=cluster.leader,
        ranks=tuple(RankLayout(member=m.member, host=m.host, device=m.device) for m in members),
        emulated=frozenset(h.name for h in cluster.hosts if h.connect == "demo"),
    )


def layout_of(table: Mapping[str, Any]) -> Layout:
    """The layout of a run found on a host, from that host's `status`. Raises UsageError when it can't be read."""
    try:
        known = table["layout"]
        return Layout(
            run=str(table["run"]),
            task=str(known["task"]),
            policy=str(known["policy"]),
            global_batch=int(known["global_batch"]),
            steps_total=known["steps"],
            leader=str(table["leader"]),
            ranks=tuple(
                RankLayout(member=int(m["member"]), host=str(m["host"]), device=str(m["device"]))
                for m in known["members"]
            ),
            emulated=frozenset(m["host"] for m in known["members"]) if known["emulated"] else frozenset(),
            attached=True,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"run {table.get('run')}: its host tells of it in another form ({error!r})") from error


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
) -> Spec:
    """The spec of one host; variables named in `pass_env` are taken from this process."""
    passed = {name: os.environ[name] for name in host.pass_env if name in os.environ}
    return Spec(
        run=run,
        host=host.name,
        token=token,
        leader=cluster.leader,
        leader_address=leader_address,
        port=cluster.port,
        members=members,
        options=cluster.run,
        balance=cluster.balance,
        elastic=cluster.elastic,
        data=cluster.data,
        env={**host.env, **passed},
        speed=host.speed,
        emulated=host.connect == "demo",
        resume=resume,
        before_s=before_s,
        phases=dict(phases),
    )

"""Which pods a run has: the hosts of cluster.toml as classes of machines, each `nodes` times. Pure.

The pod that leads is a group of its own, with the number 0; what is left of its class is one, and every other class.

    >>> [(group.name, group.hosts, group.first) for group in groups(cluster)]
    [('gpu-0', ('gpu-0',), 0), ('gpu', ('gpu-1', 'gpu-2'), 1), ('cpu', ('cpu',), 3)]
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from motley.remote.config.cluster import Cluster, Host
from motley.trainer.contract.spec import Member
from motley.trainer.devices.names import CPU, cards_of, numbered


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Pods that are alike. `hosts`: what Motley calls them, in the order of their numbers, from `first` on."""

    name: str
    hosts: tuple[str, ...]
    first: int
    of: Host  # the class in cluster.toml

    @property
    def leads(self) -> bool:
        return self.first == 0


def classes(cluster: Cluster) -> list[tuple[Host, tuple[str, ...]]]:
    """Each class as a host, and its machines, in the order of cluster.toml."""
    found: dict[str, list[Host]] = {}
    for host in cluster.hosts:
        found.setdefault(host.pod.of if host.pod else host.name, []).append(host)
    return [
        (dataclasses.replace(hosts[0], name=of, nodes=len(hosts)), tuple(host.name for host in hosts))
        if hosts[0].pod
        else (hosts[0], names_of(hosts[0]))
        for of, hosts in found.items()
    ]


def groups(cluster: Cluster) -> tuple[Group, ...]:
    found: list[Group] = []
    first = 0

    def leads(one: tuple[Host, tuple[str, ...]]) -> bool:
        return cluster.leader in (one[0].name, *one[1])

    for host, machines in sorted(classes(cluster), key=lambda one: not leads(one)):
        names = tuple(sorted(machines, key=lambda name: name != cluster.leader)) if not first else machines
        parts = [(names[0], names[:1]), (host.name, names[1:])] if not first else [(host.name, names)]
        for name, hosts in parts:
            if hosts:
                found.append(Group(name=name, hosts=hosts, first=first, of=host))
                first += len(hosts)
    return tuple(found)


def names_of(host: Host) -> tuple[str, ...]:
    """Of its machines."""
    return (host.name,) if host.nodes == 1 else tuple(f"{host.name}-{number}" for number in range(host.nodes))


def devices_of(host: Host) -> tuple[str, ...]:
    """Those that are named; else every GPU that is asked for; else the CPU."""
    if host.devices != "auto":
        return host.devices
    return tuple(map(numbered, range(host.gpus or 0))) or (CPU,)


def gpus_of(host: Host) -> int:
    """How many a pod asks for."""
    if host.gpus is not None:
        return host.gpus
    return sum(len(cards_of(device)) for device in devices_of(host) if device != CPU)


def members_of(cluster: Cluster) -> tuple[Member, ...]:
    """One for each device of each pod, in the order of the pods' numbers."""
    given = any(host.relative_speed for host in cluster.hosts)
    places = [
        (name, group.of, local, device)
        for group in groups(cluster)
        for name in group.hosts
        for local, device in enumerate(devices_of(group.of))
    ]
    return tuple(
        Member(
            member=number, host=name, local_rank=local, device=device, max_batch=of.max_batch,
            relative_speed=(of.relative_speed or 1.0) if given else None,
        )
        for number, (name, of, local, device) in enumerate(places)
    )  # fmt: skip


def as_pods(cluster: Cluster) -> Cluster:
    """The cluster whose hosts are the pods, one each, the one that leads first."""
    hosts = [
        dataclasses.replace(group.of, name=name, nodes=1, speed=None)
        for group in groups(cluster)
        for name in group.hosts
    ]
    return dataclasses.replace(cluster, hosts=tuple(hosts), leader=hosts[0].name)

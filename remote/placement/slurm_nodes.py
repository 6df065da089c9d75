"""Which node of a job is which host of a cluster, and the cluster with its hosts there. Pure.

>>> who = whose(cluster, ["fast-[1-2]"], [["n7", "n9"]], some=True)
>>> who
{'fast-1': (0, 'n7'), 'fast-2': (0, 'n9')}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from motley.remote.config.cluster import Cluster, Host
from motley.remote.placement.slurm_note import hosts_of
from motley.remote.placement.slurm_queue import who_is_who
from motley.remote.placement.slurm_script import classes

Who = dict[str, tuple[int, str]]  # by host: the number of its component, and its node


def whose(cluster: Cluster, told: Sequence[str], nodes: Sequence[Sequence[str]], *, some: bool) -> Who:
    """`told`: the hosts that the job was submitted for, as it notes them; none where it does not. `some`: these may be
    some of the cluster's. Raises ValueError with what does not fit."""
    names = [[host.name for host in of] for of in classes(cluster)]
    mine = hosts_of(told, [host.name for host in cluster.hosts]) if told else names
    if mine != names and not some:
        raise ValueError(f"the hosts {', '.join(told)}")
    return who_is_who(mine, nodes)


def of_hosts(cluster: Cluster, names: Collection[str]) -> Cluster:
    """The same with these hosts alone, as `--only` keeps them: the first stands in for a leader that is not there."""
    hosts = tuple(host for host in cluster.hosts if host.name in names)
    leader = cluster.leader if cluster.leader in names else hosts[0].name
    return dataclasses.replace(cluster, hosts=hosts, leader=leader)


def placed(
    cluster: Cluster, job: str, who: Who, known: Mapping[str, str], there: Collection[str], restarts: int
) -> Cluster:
    """Its hosts on their nodes. `known`: the address of each node; `there`: the nodes that the job still has."""
    several = any(group for group, _ in who.values())  # components of a heterogeneous job

    def one(host: Host) -> Host:
        assert host.slurm is not None, "who is who names no other"
        group, node = who[host.name]
        about = dataclasses.replace(host.slurm, job=job, node=node if node in there else "", restarts=restarts)
        about = dataclasses.replace(about, group=group if several else None)
        return dataclasses.replace(host, address=known[node], slurm=about)

    return dataclasses.replace(cluster, hosts=tuple(map(one, cluster.hosts)))

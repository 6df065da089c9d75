"""Hosts that are nodes of a Slurm job, or pods: in cluster.toml a class each, here as many hosts as it has machines.

Which node or pod a host is, `remote.placement` finds out. What is no use with another `connect` is refused.

    >>> [host.name for host in expanded(hosts, rows, problems)]
    ['fast-1', 'fast-2', 'slow']
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from motley.remote.config import value_rules
from motley.remote.config.cluster import Host, Pod, SlurmNode, SlurmOptions
from motley.remote.config.problems import Problems

KEYS = ("partition", "sbatch")
ELSEWHERE = ("user", "port", "identity", "jump", "address")  # of a node: the login node has them; of a pod: nobody
EARLY_S = 60  # that Slurm's warning may come before it is due


def expanded(hosts: Sequence[Host], rows: Sequence[Mapping[str, Any]], problems: Problems) -> tuple[Host, ...]:
    """`rows`: the valid keys of each host, `[defaults]` among them."""
    for index, (host, row) in enumerate(zip(hosts, rows, strict=True)):
        for key in (*(KEYS if not host.way.is_node else ()), *(ELSEWHERE if host.way.placed else ())):
            if key in row:
                text = 'is for connect = "slurm"; take it out'
                if key in ELSEWHERE:
                    text = "is not said of a node: [slurm] has that of the login node"
                    text = "is not said of a pod, which kubectl reaches; take it out" if host.way.starts_runs else text
                problems.add(("hosts", index, key), text)
    if len({host.way.called if host.way.placed else "" for host in hosts}) > 1:
        index = next(index for index, host in enumerate(hosts) if host.way != hosts[0].way)
        which = "pods" if host.way.starts_runs or hosts[0].way.starts_runs else "nodes of a job"
        text = f"can't be in one cluster with hosts that are reached otherwise: {which} are among themselves"
        problems.add(("hosts", index), text)
    found: dict[str, Host] = {}
    for index, (host, row) in enumerate(zip(hosts, rows, strict=True)):
        for one in _nodes(host, row):
            if host.way.placed and found.setdefault(one.name, one) is not one:
                problems.add(("hosts", index), f"its machine {one.name} has the name of another host; give it another")
            if (problem := value_rules.name_problem(one.name)) and not value_rules.name_problem(host.name):
                problems.add(("hosts", index, "name"), f"is too long for that of its nodes: {one.name} {problem}")
    return tuple(one for host, row in zip(hosts, rows, strict=True) for one in _nodes(host, row))


def numbered(hosts: Sequence[Host], leader: str) -> tuple[Host, ...]:
    """Pods are counted: the one that leads, the others of its class, then class by class."""
    of = next((host.pod.of for host in hosts if host.name == leader and host.pod), None)
    order = sorted(hosts, key=lambda host: (host.name != leader, host.pod is not None and host.pod.of != of))
    numbers = {host.name: number for number, host in enumerate(order)}
    return tuple(
        dataclasses.replace(host, pod=dataclasses.replace(host.pod, number=numbers[host.name])) if host.pod else host
        for host in hosts
    )


def _nodes(host: Host, row: Mapping[str, Any]) -> list[Host]:
    if host.way.starts_runs:
        pods = [host.name] if host.nodes == 1 else [f"{host.name}-{number}" for number in range(host.nodes)]
        return [dataclasses.replace(host, name=name, nodes=1, pod=Pod(of=host.name)) for name in pods]
    if not host.way.placed:
        return [host]
    about = SlurmNode(of=host.name, partition=row.get("partition"), sbatch=tuple(row.get("sbatch", ())))
    names = [host.name] if host.nodes == 1 else [f"{host.name}-{number}" for number in range(1, host.nodes + 1)]
    return [dataclasses.replace(host, name=name, nodes=1, slurm=about) for name in names]


def slurm_options(
    keys: dict[str, Any],
    table: Mapping[str, Any],
    hosts: Sequence[Host],
    folder: Path,
    problems: Problems,
    *,
    program: str | None = None,
) -> SlurmOptions | None:
    """`keys`: the valid ones of `[slurm]`; `program`: what runs in place of a task."""
    if not any(host.way.is_node for host in hosts):
        if "slurm" in table and hosts:
            problems.add(("slurm",), 'is for [cluster] connect = "slurm"; take it out, or set that')
        return None
    if not keys.get("address"):
        for key in ("user", "port", "identity", "jump"):
            if key in keys:
                problems.add(("slurm", key), "is for a login node; give its address, too, or take it out")
    if keys.get("requeue") and program is not None:
        problems.add(("slurm", "requeue"), f"is not for the script {program}, which would begin anew; take it out")
    limit_s, warning_s = seconds(keys.get("time", "")), keys.get("warning_s", SlurmOptions().warning_s)
    if keys.get("requeue") and limit_s is not None and limit_s < 2 * warning_s + EARLY_S:
        text = f"is too short for warning_s = {warning_s}: the job would be told to end as it begins, again and again"
        problems.add(("slurm", "time"), text)
    identity = keys.get("identity")
    absolute = str(folder.absolute() / Path(os.path.expanduser(identity))) if identity else None
    return SlurmOptions(**{**keys, "identity": absolute, "sbatch": tuple(keys.get("sbatch", ()))})


def seconds(time: str) -> int | None:
    """A time limit as sbatch has it; None where it is none.

    >>> seconds("90"), seconds("2:30"), seconds("1:00:00"), seconds("1-12"), seconds("1-0:30")
    (5400, 150, 3600, 129600, 88200)
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time)
    if found is None:
        return None
    days, first, second, third = (int(part) if part else 0 for part in found.groups())
    if found[1] is not None:
        return days * 86400 + first * 3600 + second * 60 + third
    if found[3] is None:
        return first * 60
    return first * 3600 + second * 60 + third if found[4] is not None else first * 60 + second

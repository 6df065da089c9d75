"""Which hosts of cluster.toml a run has: noted on its job, since `--only` may have left some out. Pure.

Pods are numbered among the hosts of their run, so a console that has the whole file would take one pod for another.
What the cluster answers is not trusted: names count that cluster.toml has, no others.

    >>> cut(cluster, "night", [{"metadata": {"annotations": {"motley-hosts": "small-0,small-1"}}}]).leader
    'small-0'
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from motley.remote.config.cluster import Cluster
from motley.remote.errors import UsageError
from motley.remote.sanitize import clean

NOTE = "motley-hosts"  # an annotation of the job: the hosts, in the order of their pods' numbers, with commas
TOLD = 5  # names at most, of those that cluster.toml does not have
Table = Mapping[str, Any]


def annotation(hosts: Iterable[str]) -> dict[str, str]:
    return {NOTE: ",".join(hosts)}


def noted(jobs: Iterable[Table]) -> tuple[str, ...]:
    """The names on the job, safe to show; none where it has no note: an earlier version has written its manifests."""
    for job in jobs:
        about = job.get("metadata")
        notes = about.get("annotations") if isinstance(about, dict) else None
        text = notes.get(NOTE) if isinstance(notes, dict) else None
        if isinstance(text, str) and text:
            return tuple(map(clean, text.split(",")))
    return ()


def numbered(cluster: Cluster) -> dict[int, str]:
    """The hosts, by the numbers of their pods."""
    return dict(sorted((host.pod.number, host.name) for host in cluster.hosts if host.pod))


def cut(cluster: Cluster, run: str, jobs: Sequence[Table]) -> Cluster:
    """The cluster with the hosts of the run alone, as it was started with them. Raises UsageError where cluster.toml
    lacks one of them."""
    names = noted(jobs)
    if not names or names == tuple(numbered(cluster).values()):
        return cluster
    known = {host.name: host for host in cluster.hosts if host.pod}
    if strangers := [name for name in dict.fromkeys(names) if name not in known]:
        more = f" and {len(strangers) - TOLD} more" if len(strangers) > TOLD else ""
        text = f"'{run}' also runs on {', '.join(strangers[:TOLD])}{more}, which {cluster.path.name} does not have"
        raise UsageError(f"{text}: take the file, and --only, that the run was started with")
    if len(set(names)) < len(names):
        raise UsageError(f"the job of '{run}' names a host twice ({clean(','.join(names))}): it was changed by hand")
    hosts = tuple(
        dataclasses.replace(known[name], pod=dataclasses.replace(pod, number=number))
        for number, name in enumerate(names)
        if (pod := known[name].pod) is not None
    )
    return dataclasses.replace(cluster, leader=names[0], hosts=hosts)

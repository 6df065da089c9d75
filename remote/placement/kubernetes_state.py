"""A job and its pods as the cluster tells of them -> whether hosts are waited for, there, or gone. Pure.

>>> state_of({0: "large", 1: "small"}, jobs, pods)
State(phase='running', says='small: it has no pod yet', …)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from motley.remote.hosts.pods import Seen
from motley.remote.placement.slurm_queue import State
from motley.remote.sanitize import clean

Table = Mapping[str, Any]


def waiting(names: Mapping[int, str], pods: Mapping[int, Seen]) -> list[str]:
    """What each host waits for, and what to do, hosts that wait for the same thing together."""
    found: dict[tuple[str, str], list[str]] = {}
    for number, name in names.items():
        pod = pods.get(number)
        says = ("it has no pod yet", "") if pod is None else (pod.says, pod.remedy)
        if pod is None or pod.phase != "runs":
            found.setdefault(says, []).append(name)
    return [
        f"{', '.join(hosts)}: {says.rstrip('.')}. {remedy}" if remedy else f"{', '.join(hosts)}: {says}"
        for (says, remedy), hosts in found.items()
    ]


def never_begins(names: Mapping[int, str], pods: Mapping[int, Seen]) -> State | None:
    """Where a pod is such that no waiting mends it. A run that has begun does without that one; one that has not begun
    never will."""
    never = next((number for number, pod in pods.items() if pod.never), None)
    if never is None:
        return None
    says = f"the pod of {names.get(never, never)} never begins: {pods[never].says}"
    return State(phase="gone", says=says, remedy=pods[never].remedy)


def state_of(names: Mapping[int, str], jobs: Sequence[Table], pods: Mapping[int, Seen]) -> State:
    """Of a job as a whole."""
    if not jobs and not pods:
        return State(phase="gone", says="the cluster has no job of this name any more", remedy="Start it again.")
    if not jobs:
        return State(phase="gone", says="the job was deleted, and its pods are ending", remedy="Start it again.")
    if (reason := failure(jobs)) is not None:
        return State(phase="gone", says=f"the job has ended: {reason}", remedy="Start it again.")
    running = any(pod.phase == "runs" for pod in pods.values())
    if not running and (never := never_begins(names, pods)) is not None:
        return never
    waits = waiting(names, pods)
    if waits:
        return State(phase="running" if running else "queued", says="; ".join(waits))
    return State(phase="running", says=f"all {len(names)} pods run" if len(names) > 1 else "its pod runs")


def failure(jobs: Iterable[Table]) -> str | None:
    """Why the operator takes the job for ended; None while it does not."""
    for job in jobs:
        for one in job.get("status", {}).get("conditions", []) or ():
            if one.get("type") in ("Failed", "Succeeded", "Completed", "Complete") and one.get("status") == "True":
                return clean(f"{one['type']}: {one.get('message') or one.get('reason') or ''}")
    return None

"""Whether kubectl and the cluster are such that a run can be applied: looked at before anything is.

>>> await check_cluster(Kubectl(cluster.kubernetes), cluster, say)     # raises what is in the way
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from motley.remote.config.cluster import Cluster
from motley.remote.errors import Finding, HostError, UsageError
from motley.remote.hosts.kubectl import Kubectl, failed

RESOURCES = {"pytorchjob": "pytorchjobs", "jobset": "jobsets", "trainjob": "trainjobs"}
KUBEFLOW = "kubeflow.org"
GROUPS = {"pytorchjob": KUBEFLOW, "jobset": "jobset.x-k8s.io", "trainjob": f"trainer.{KUBEFLOW}"}
VERSIONS = {"pytorchjob": "v1", "jobset": "v1alpha2", "trainjob": "v1alpha1"}
OPERATORS = {"pytorchjob": "Kubeflow's training-operator v1", "jobset": "JobSet", "trainjob": "Kubeflow Trainer v2"}
EXEC, LOGS = ("create", "pods/exec"), ("get", "pods/log")
NO_EXEC = (
    "you may not create pods/exec: a run is followed by kubectl logs, and no checkpoint comes home",
    "motley stop deletes the job; join, drop, checkpoint and fetch need that right: ask who runs the cluster",
)
AT_ONCE = 4  # of kubectl, each of which takes some memory


def resource_of(kind: str) -> str:
    """With its group, as kubectl takes it for nobody else's."""
    return f"{RESOURCES[kind]}.{GROUPS[kind]}"


async def check_cluster(kubectl: Kubectl, cluster: Cluster, say: Callable[[str], object]) -> bool:
    """Whether commands can be run in pods. Raises UsageError for a kubectl that is absent or too old, for a kind of job
    that the cluster has not, and for what the user may not do there; a HostError when the cluster does not answer."""
    await kubectl.check_version()
    kind = cluster.kubernetes.kind
    say(f"kubernetes: looking at the cluster ({cluster.kubernetes.context or 'the context that kubectl has'})")
    if not await _has(kubectl, kind):
        others = [other for other in RESOURCES if other != kind and await _has(kubectl, other)]
        remedy = f"install {OPERATORS[kind]} there"
        if others:
            remedy = f'set [kubernetes] kind = "{others[0]}", which it has'
        raise UsageError(f"the cluster has no {RESOURCES[kind]} of {GROUPS[kind]}/{VERSIONS[kind]}: {remedy}")
    missing = [right for right, may in await _rights(kubectl, [*wanted(cluster), EXEC]) if not may]
    commands = _told(EXEC) not in missing
    if missing == [_told(EXEC)] and (await _rights(kubectl, [LOGS]))[0][1]:
        missing = []
    if missing:
        space = f" in namespace {cluster.kubernetes.namespace}" if cluster.kubernetes.namespace else ""
        text = f"you may not {', '.join(missing)}{space}: ask who runs the cluster for that right, or take a namespace"
        text = f"{text} where you have it ([kubernetes] namespace)"
        raise UsageError(f"{text}; kubectl auth can-i --list shows what you may do")
    return commands


async def may_command(kubectl: Kubectl) -> bool:
    """Whether the user may run commands in pods. Raises a HostError."""
    return (await _rights(kubectl, [EXEC]))[0][1]


def wanted(cluster: Cluster) -> list[tuple[str, str]]:
    """The rights that a run takes, verb and resource: to begin, to be seen, to be ended. It is followed with `EXEC`, or
    with `LOGS` alone. The rest a trial of the manifests tells."""
    job = resource_of(cluster.kubernetes.kind)
    return [
        ("create", job),
        ("delete", job),
        ("create", "secrets"),
        ("list", "pods"),
    ]


async def _has(kubectl: Kubectl, kind: str) -> bool:
    done = await kubectl.run("get", "--raw", f"/apis/{GROUPS[kind]}/{VERSIONS[kind]}")
    if not done.code:
        return f'"{RESOURCES[kind]}"' in done.stdout.decode(errors="replace")
    if "NotFound" in done.stderr or "could not find the requested resource" in done.stderr:
        return False
    raise failed(done.stderr)


async def _rights(kubectl: Kubectl, rights: list[tuple[str, str]]) -> list[tuple[str, bool]]:
    """Each as it is told, and whether the user has it."""

    async def one(verb: str, resource: str) -> bool:
        whole, _, part = resource.partition("/")
        of = [f"--subresource={part}"] if part else []
        done = await kubectl.run("auth", "can-i", "--quiet", verb, whole, *of)
        if done.code and done.stderr.strip() and not done.stderr.startswith("Warning"):
            raise failed(done.stderr)
        return done.code == 0

    found = []
    for start in range(0, len(rights), AT_ONCE):
        part = rights[start : start + AT_ONCE]
        may = await asyncio.gather(*(one(*right) for right in part))
        found += [(_told(right), has) for right, has in zip(part, may, strict=True)]
    return found


def _told(right: tuple[str, str]) -> str:
    return " ".join(right)


async def findings_of(cluster: Cluster, say: Callable[[str], object]) -> tuple[Finding, ...]:
    """For `motley check`: what is in the way of a run; nothing is applied."""
    try:
        if not await check_cluster(Kubectl(cluster.kubernetes), cluster, say):
            return (Finding(cluster.leader, "kubernetes", "warning", *NO_EXEC),)
    except UsageError as error:
        cause, _, remedy = str(error).partition(": ")
        return (Finding(cluster.leader, "kubernetes", "error", cause, remedy),)
    except HostError as error:
        return (Finding(cluster.leader, "kubernetes", "error", error.cause, error.remedy),)
    return ()

"""Pods of a run as the cluster tells of them, in JSON: which host each is, and how it is with it, in a sentence. Pure.

>>> seen(pod).says
'no node has room: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.'
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from motley.remote.sanitize import clean

LABEL = "motley-run"  # of everything that a run has in the cluster
CONTAINERS = ("pytorch", "node")  # what the manifests call the one of a pod
Phase = Literal["waits", "runs", "ends", "gone"]
Table = Mapping[str, Any]

IMAGE = (
    "Is [kubernetes] image the right name, is it in the registry, and has the cluster the right to it ([kubernetes] "
    "pull_secret)? kubectl describe pod says more."
)
ROOM = (
    "It waits until there is room. kubectl describe nodes shows what there is; nodes, gpus, cpus and memory in "
    "cluster.toml say what is asked for."
)
VOLUME = (
    "Set [kubernetes] storage_class to one that there is (kubectl get storageclass) and that gives [kubernetes] "
    "access, or name a claim that is bound: kubectl get pvc"
)
SELECTOR = "node_selector in cluster.toml must be labels that nodes have: kubectl get nodes --show-labels"
SETTINGS = (
    "A Secret, ConfigMap or ServiceAccount that cluster.toml names is not there: kubectl describe pod says which."
)
_WAITING = {  # why a container does not start yet -> what that is, what to do, and whether waiting is of no use
    "ErrImagePull": ("its image can't be fetched", IMAGE, False),
    "ImagePullBackOff": ("its image can't be fetched", IMAGE, False),
    "InvalidImageName": ("the name of its image is none", "Mend [kubernetes] image in cluster.toml.", True),
    "ErrImageNeverPull": ("its image is not on the node", 'Set [kubernetes] pull_policy = "IfNotPresent".', True),
    "CreateContainerConfigError": ("its container can't be made", SETTINGS, False),
    "CreateContainerError": ("its container can't be made", "kubectl describe pod says more.", False),
    "RunContainerError": ("its container can't be started", "kubectl describe pod says more.", False),
    "ContainerCreating": ("its container is being made", "", False),
    "PodInitializing": ("its container is being made", "", False),
}
_UNSCHEDULABLE = (  # in the scheduler's message -> what that is, and what to do
    ("persistentvolumeclaim", "its volume is not there yet", VOLUME),
    ("insufficient", "no node has room", ROOM),
    ("too many pods", "no node has room", ROOM),
    ("affinity", "no node is as it is to be", SELECTOR),
    ("selector", "no node is as it is to be", SELECTOR),
    ("taint", "no node takes it", "Nodes are reserved (tainted): kubectl describe nodes; ask who runs the cluster."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One pod. `number`: among those of the run, None where it does not say; `says`: how it is with it."""

    name: str
    uid: str
    number: int | None
    container: str
    phase: Phase
    says: str
    remedy: str = ""
    never: bool = False  # waiting does not mend it
    made: str = ""  # when, as the cluster writes it
    node: str = ""


def of_run(name: str) -> str:
    """The selector of all that a run has in the cluster."""
    return f"{LABEL}={name}"


def by_number(pods: Iterable[Table]) -> dict[int, Seen]:
    """The pod that counts for each number: one that runs, else the newest."""
    found: dict[int, Seen] = {}
    for one in sorted(map(seen, pods), key=lambda one: (one.phase in ("runs", "waits"), one.phase == "runs", one.made)):
        if one.number is not None:
            found[one.number] = one
    return found


def seen(pod: Table) -> Seen:
    about, spec, status = pod.get("metadata", {}), pod.get("spec", {}), pod.get("status", {})
    container = _container(spec)
    phase, says, remedy, never = _how(about, status, container)
    return Seen(
        name=str(about.get("name")),
        uid=str(about.get("uid")),
        number=number_of(pod),
        container=container,
        phase=phase,
        says=clean(says),
        remedy=remedy,
        never=never,
        made=str(about.get("creationTimestamp")),
        node=clean(str(spec.get("nodeName") or "")),
    )


def number_of(pod: Table) -> int | None:
    """Among the pods of the run: as its own first process finds it out."""
    about = pod.get("metadata", {})
    notes = {**about.get("labels", {}), **about.get("annotations", {})}
    spec = pod.get("spec", {})
    given = {
        str(one.get("name")): str(one["value"])
        for container in spec.get("containers", [])
        if container.get("name") == _container(spec)
        for one in container.get("env", [])
        if "value" in one
    }
    try:
        if (first := given.get("MOTLEY_POD_FIRST")) is not None:
            return int(first) + int(notes.get("batch.kubernetes.io/job-completion-index", ""))
        if "RANK" in given:
            return int(given["RANK"])
        of = str(notes.get("training.kubeflow.org/replica-type", "")).lower()
        index = int(notes.get("training.kubeflow.org/replica-index", ""))
        return {"master": index, "worker": index + 1}.get(of)
    except ValueError:
        return None


def troubles(events: Iterable[Table], names: Sequence[str]) -> list[str]:
    """What has gone wrong of late with objects of these names, and those that were made for them: the newest first."""
    found = []
    for event in events:
        name = str(event.get("involvedObject", {}).get("name", ""))
        if event.get("type") == "Warning" and any(name == own or name.startswith(f"{own}-") for own in names):
            at = (
                event.get("lastTimestamp")
                or event.get("eventTime")
                or event.get("metadata", {}).get("creationTimestamp")
            )
            found.append((str(at or ""), clean(f"{event.get('reason')}: {event.get('message')}")))
    return list(dict.fromkeys(text for _, text in sorted(found, reverse=True)))


def unscheduled(message: str) -> tuple[str, str]:
    """The scheduler's message -> the same with what that is, and what to do."""
    low = message.lower()
    for words, what, remedy in _UNSCHEDULABLE:
        if words in low:
            return f"{what}: {message}", remedy
    return f"no node takes it: {message}", "kubectl describe pod says more."


def _container(spec: Table) -> str:
    names = [str(one.get("name")) for one in spec.get("containers", [])]
    return next((name for name in names if name in CONTAINERS), names[0] if names else "")


def _how(about: Table, status: Table, container: str) -> tuple[Phase, str, str, bool]:
    mine: dict[str, Any] = next(
        (one for one in status.get("containerStatuses", []) if one.get("name") == container), {}
    )
    state = mine.get("state", {})
    phase = status.get("phase")
    if phase in ("Failed", "Succeeded"):
        return "gone", _end(status, state.get("terminated", {})), "", False
    if about.get("deletionTimestamp"):
        return "ends", "it is ending", "", False
    if "terminated" in state:
        return "gone", _end(status, state["terminated"]), "", False
    if "running" in state:
        return "runs", "it runs", "", False
    if "waiting" in state:
        reason, message = str(state["waiting"].get("reason")), state["waiting"].get("message")
        what, remedy, never = _WAITING.get(reason, (f"its container waits: {reason}", "", False))
        return "waits", f"{what}: {message}" if message and remedy else what, remedy, never
    conditions = {one.get("type"): one for one in status.get("conditions", [])}
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False" and scheduled.get("message"):
        return "waits", *unscheduled(str(scheduled["message"])), False
    return "waits", "it waits for a node", "", False


def _end(status: Table, terminated: Table) -> str:
    reason = status.get("reason") or terminated.get("reason") or ""
    if reason == "Completed":
        return "it has ended"
    code, message = terminated.get("exitCode"), status.get("message") or terminated.get("message")
    parts = [str(reason)] * bool(reason) + [f"exit code {code}"] * (code is not None)
    return f"it has ended ({', '.join(parts)})" * bool(parts) + f": {message}" * bool(message) or "it has ended"

"""What a pod's status says at each turn of its life: functions that write it. Pure, but for the time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.kubernetes.api.store import now

Object = dict[str, Any]
Change = Callable[[Object], None]
EVICTED = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi."
NODE_LOST = "Node which was running this pod is unresponsive"
DISRUPTED = {"Evicted": "TerminationByKubelet", "NodeLost": "DeletionByTaintManager"}
KILLED, TERMINATED = 137, 143


def condition(table: Object, kind: str, status: str, reason: str = "", message: str = "") -> None:
    """It is the newest then, and there is one of each kind."""
    found: list[Object] = table.setdefault("status", {}).setdefault("conditions", [])
    old = next((one for one in found if one["type"] == kind), None)
    said = {"type": kind, "status": status, **({"reason": reason} if reason else {})}
    said |= {"message": message} if message else {}
    if old is not None and {key: old.get(key) for key in said} == said:
        return
    table["status"]["conditions"] = [one for one in found if one is not old] + [{**said, "lastTransitionTime": now()}]


def unschedulable(why: str) -> Change:
    def change(pod: Object) -> None:
        pod.setdefault("status", {})["phase"] = "Pending"
        condition(pod, "PodScheduled", "False", "Unschedulable", why)

    return change


def scheduled(node: str) -> Change:
    def change(pod: Object) -> None:
        pod["spec"]["nodeName"] = node
        condition(pod, "PodScheduled", "True")
        _container(pod, {"waiting": {"reason": "ContainerCreating"}})

    return change


def waiting(reason: str, message: str) -> Change:
    def change(pod: Object) -> None:
        _container(pod, {"waiting": {"reason": reason, **({"message": message} if message else {})}})

    return change


def running(address: str) -> Change:
    def change(pod: Object) -> None:
        moment = now()
        pod["status"] |= {"phase": "Running", "podIP": address, "hostIP": "127.0.0.1", "startTime": moment}
        condition(pod, "Ready", "True")
        _container(pod, {"running": {"startedAt": moment}})

    return change


def ended(code: int, why: tuple[str, str] | None) -> Change:
    """`why`: the reason of the pod itself, and what is said of it, when it was ended from outside."""

    def change(pod: Object) -> None:
        status = pod.setdefault("status", {})
        finished = code == 0 and why is None
        status["phase"] = "Succeeded" if finished else "Failed"
        if why is not None:
            status |= {"reason": why[0], "message": why[1]}
            if why[0] in DISRUPTED:
                condition(pod, "DisruptionTarget", "True", DISRUPTED[why[0]], why[1])
        condition(pod, "Ready", "False", "PodCompleted" if finished else "PodFailed")
        before = status.get("containerStatuses", [{}])[0].get("state", {}).get("running", {})
        state = {"exitCode": code, "reason": "Completed" if code == 0 else "Error", "finishedAt": now()}
        _container(pod, {"terminated": {**state, "startedAt": before.get("startedAt", now())}})

    return change


def exit_code(pod: Object) -> int | None:
    """Of its container; None while it has not ended."""
    for status in pod.get("status", {}).get("containerStatuses", ()):
        if "terminated" in status["state"]:
            return int(status["state"]["terminated"]["exitCode"])
    return None


def _container(pod: Object, state: Object) -> None:
    status = pod.setdefault("status", {"phase": "Pending"})
    status["containerStatuses"] = [
        {
            "name": one["name"],
            "image": one.get("image", ""),
            "imageID": "",
            "ready": "running" in state,
            "started": "running" in state,
            "restartCount": 0,
            "state": state,
        }
        for one in pod["spec"]["containers"][:1]
    ]

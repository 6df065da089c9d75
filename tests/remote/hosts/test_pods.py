"""Pods as the cluster tells of them -> which host each is, and how it is with it in a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from motley.remote.hosts.pods import IMAGE, ROOM, SELECTOR, VOLUME, by_number, number_of, seen, troubles


def pod(name: str = "night-worker-0", *, made: str = "2026-11-23T20:00:00Z", **status: Any) -> dict[str, Any]:
    container = {"name": "pytorch", "env": [{"name": "RANK", "value": "1"}, {"name": "MASTER_ADDR", "value": "m"}]}
    about = {"name": name, "uid": f"of {name} {made}", "creationTimestamp": made, "labels": {"motley-run": "night"}}
    return {"kind": "Pod", "metadata": about, "spec": {"containers": [container]}, "status": status}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
    return pod(phase="Pending", containerStatuses=[{"name": "pytorch", "state": state}])


def running(**about: Any) -> dict[str, Any]:
    states = [{"name": "istio-proxy", "state": {"waiting": {}}}, {"name": "pytorch", "state": {"running": {}}}]
    return pod(phase="Running", containerStatuses=states, **about)


def unscheduled(message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return pod(phase="Pending", conditions=[condition])


@pytest.mark.parametrize(
    ("table", "phase", "says", "remedy"),
    [
        (running(), "runs", "it runs", ""),
        (pod(phase="Pending"), "waits", "it waits for a node", ""),
        (waiting("ContainerCreating"), "waits", "its container is being made", ""),
        (
            unscheduled("0/3 nodes are available: 3 Insufficient nvidia.com/gpu."),
            "waits",
            "no node has room: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
            ROOM,
        ),
        (
            unscheduled("0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
            "waits",
            "its volume is not there yet: 0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
            VOLUME,
        ),
        (
            unscheduled("0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."),
            "waits",
            "no node is as it is to be: 0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.",
            SELECTOR,
        ),
        (
            waiting("ImagePullBackOff", 'Back-off pulling image "nosuch:1"'),
            "waits",
            'its image can\'t be fetched: Back-off pulling image "nosuch:1"',
            IMAGE,
        ),
        (
            pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory."),
            "gone",
            "it has ended (Evicted): The node was low on resource: memory.",
            "",
        ),
        (
            pod(
                phase="Failed",
                containerStatuses=[
                    {"name": "pytorch", "state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}
                ],
            ),
            "gone",
            "it has ended (OOMKilled, exit code 137)",
            "",
        ),
    ],
)
def test_how_it_is_with_a_pod(table: dict[str, Any], phase: str, says: str, remedy: str) -> None:
    found = seen(table)

    assert (found.phase, found.says, found.remedy) == (phase, says, remedy)
    assert not found.never


def test_an_image_whose_name_is_none_is_never_fetched() -> None:
    assert seen(waiting("InvalidImageName", "couldn't parse it")).never


def test_what_a_pod_is_told_of_its_number_counts() -> None:
    operator = {"labels": {"training.kubeflow.org/replica-type": "worker", "training.kubeflow.org/replica-index": "2"}}
    indexed = {"annotations": {"batch.kubernetes.io/job-completion-index": "1"}}
    env = [{"name": "MOTLEY_POD_FIRST", "value": "3"}]
    group = {"metadata": indexed, "spec": {"containers": [{"name": "node", "env": env}]}}

    assert number_of(pod()) == 1
    assert number_of(group) == 4
    assert number_of({"metadata": operator, "spec": {"containers": [{"name": "pytorch"}]}}) == 3
    assert number_of({"metadata": {}, "spec": {"containers": [{"name": "other"}]}}) is None
    assert number_of({"metadata": {}, "spec": {"containers": [{"name": "node", "env": env}]}}) is None


def test_of_several_pods_of_a_number_the_one_that_lives_counts() -> None:
    evicted = pod(phase="Failed", reason="Evicted")
    newer = pod(phase="Pending", made="2026-11-23T20:05:00Z")

    assert by_number([newer, evicted])[1].phase == "waits"
    assert by_number([running(), pod(phase="Failed", made="2026-11-23T20:05:00Z")])[1].phase == "runs"
    assert by_number([evicted])[1].phase == "gone"


def test_warnings_about_a_run_the_newest_first() -> None:
    def event(name: str, message: str, at: str, kind: str = "Warning") -> dict[str, Any]:
        return {"involvedObject": {"name": name}, "type": kind, "reason": "FailedCreate", "message": message,
                "lastTimestamp": at}  # fmt: skip

    events = [
        event("night", 'pods "night-worker-0" is forbidden: exceeded quota', "2026-11-23T20:00:01Z"),
        event("nightly", "of another", "2026-11-23T20:00:05Z"),
        event("night", "made", "2026-11-23T20:00:06Z", "Normal"),
        event("night-big-0", "newer", "2026-11-23T20:00:04Z"),
    ]

    assert troubles(events, ["night"]) == [
        "FailedCreate: newer",
        'FailedCreate: pods "night-worker-0" is forbidden: exceeded quota',
    ]

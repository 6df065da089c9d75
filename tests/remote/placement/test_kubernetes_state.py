"""A job and its pods as the cluster tells of them -> what is waited for, and whether that is of any use."""

from __future__ import annotations

from typing import Any

import pytest

from motley.remote.hosts.pods import Phase, Seen
from motley.remote.placement.kubernetes_state import failure, never_begins, state_of, waiting

NAMES = {0: "big", 1: "small-0", 2: "small-1"}
JOB: dict[str, Any] = {"kind": "PyTorchJob", "status": {"conditions": [{"type": "Running", "status": "True"}]}}


def pod(number: int, phase: Phase = "runs", says: str = "it runs", remedy: str = "", *, never: bool = False) -> Seen:
    return Seen(
        name=f"pod-{number}", uid=str(number), number=number, container="node", phase=phase, says=says, remedy=remedy,
        never=never,
    )  # fmt: skip


def test_hosts_that_wait_for_the_same_are_told_together() -> None:
    room = ("no node has room: 0/3 nodes are available", "It waits.")
    pods = {0: pod(0), 1: pod(1, "waits", *room), 2: pod(2, "waits", *room)}

    assert waiting(NAMES, pods) == ["small-0, small-1: no node has room: 0/3 nodes are available. It waits."]
    assert waiting(NAMES, {0: pod(0)}) == ["small-0, small-1: it has no pod yet"]
    assert waiting(NAMES, {number: pod(number) for number in NAMES}) == []


@pytest.mark.parametrize(
    ("jobs", "pods", "phase", "says"),
    [
        ([], {}, "gone", "the cluster has no job of this name any more"),
        ([JOB], {}, "queued", "big, small-0, small-1: it has no pod yet"),
        ([JOB], {0: pod(0)}, "running", "small-0, small-1: it has no pod yet"),
        ([JOB], {number: pod(number) for number in NAMES}, "running", "all 3 pods run"),
        ([], {0: pod(0)}, "gone", "the job was deleted, and its pods are ending"),
        (
            [JOB],
            {0: pod(0, "waits", "the name of its image is none", "Mend it.", never=True)},
            "gone",
            "the pod of big never begins: the name of its image is none",
        ),
        (
            [JOB],
            {0: pod(0), 1: pod(1, "waits", "its image is not on the node", "Mend it.", never=True), 2: pod(2)},
            "running",
            "small-0: its image is not on the node. Mend it.",
        ),
        (
            [{"status": {"conditions": [{"type": "Failed", "status": "True", "message": "its pods failed"}]}}],
            {0: pod(0, "gone")},
            "gone",
            "the job has ended: Failed: its pods failed",
        ),
    ],
)
def test_the_state_of_a_job(jobs: list[dict[str, Any]], pods: dict[int, Seen], phase: str, says: str) -> None:
    found = state_of(NAMES, jobs, pods)

    assert (found.phase, found.says) == (phase, says)
    assert bool(found.remedy) == (phase == "gone")


def test_one_that_never_begins_is_told_whatever_the_others_do() -> None:
    pods = {0: pod(0), 1: pod(1, "waits", "its image is not on the node", "Mend it.", never=True)}

    found = never_begins(NAMES, pods)

    assert found is not None
    assert (found.phase, found.remedy) == ("gone", "Mend it.")
    assert found.says == "the pod of small-0 never begins: its image is not on the node"
    assert never_begins(NAMES, {0: pod(0)}) is None


def test_a_condition_that_is_not_met_ends_no_job() -> None:
    assert failure([JOB, {"status": {}}, {"status": {"conditions": None}}]) is None
    assert failure([{"status": {"conditions": [{"type": "Failed", "status": "False"}]}}]) is None

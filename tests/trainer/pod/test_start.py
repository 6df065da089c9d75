"""Pods start a run by themselves: real processes, with the environment that the operators give, train to the end."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from motley.trainer.contract.wire import Event, Sample
from tests.support.ports import free_pair
from tests.trainer.pod.pods import BOUND_S, Pods, description_of

pytestmark = pytest.mark.ranks


def steps_of(pods: Pods, name: str) -> list[int]:
    return [record.step for record in pods.records(name) if isinstance(record, Sample)]


def groups_of(pods: Pods, name: str) -> list[int]:
    """How many ranks each group had that the coordinator in that pod has told of."""
    return [r.data["world_size"] for r in pods.records(name) if isinstance(r, Event) and r.kind == "group"]


def until_groups(pods: Pods, name: str, groups: list[int]) -> None:
    """Wait until the coordinator in that pod has told of these."""
    deadline = time.monotonic() + BOUND_S
    while groups_of(pods, name) != groups:
        assert time.monotonic() < deadline, groups_of(pods, name)
        time.sleep(0.2)


def until_step(pods: Pods, name: str, step: int) -> None:
    """Wait until that pod has told of the step."""
    deadline = time.monotonic() + BOUND_S
    while max(steps_of(pods, name), default=0) < step:
        assert time.monotonic() < deadline, pods.log(name).read_text()[-2000:]
        time.sleep(0.2)


def until_waiting(pods: Pods, name: str) -> None:
    """Wait until that pod has told that it waits for the one that leads."""
    deadline = time.monotonic() + BOUND_S
    while not (told := [r.text for r in pods.records(name) if isinstance(r, Event) and r.source == "pod"]):
        assert time.monotonic() < deadline, pods.log(name).read_text()[-2000:]
        time.sleep(0.2)
    assert told[0].startswith("waiting for the pod that leads")


def test_pods_of_a_pytorchjob_train_to_the_end_and_print_their_records(tmp_path: Path) -> None:
    port = free_pair()
    with Pods(tmp_path, description_of("gpu", "cpu-0", "cpu-1", port=port)) as pods:
        for number, name in enumerate(["gpu", "cpu-0", "cpu-1"]):
            # What a PyTorchJob sets in each pod, the WORLD_SIZE of pods and torchrun's variables included.
            pods.start(
                name, RANK=str(number), WORLD_SIZE="3", MASTER_ADDR="localhost", MASTER_PORT=str(port),
                PET_NNODES="3", PET_NPROC_PER_NODE="auto",
            )  # fmt: skip
        assert [pods.code(name) for name in ("gpu", "cpu-0", "cpu-1")] == [0, 0, 0], pods.log("gpu").read_text()
        assert pods.summary("gpu")["steps"] == 12
        for name in ("gpu", "cpu-0", "cpu-1"):
            assert steps_of(pods, name) == list(range(1, 13))
            ended = [r for r in pods.records(name) if isinstance(r, Event) and r.kind == "ended"]
            assert [(event.data["state"], event.data["left"]) for event in ended] == [("finished", 0)]
        assert list((pods.run_folder("gpu") / "checkpoints").glob("*.pt"))


def test_pods_of_a_jobset_know_their_number_by_group_and_index(tmp_path: Path) -> None:
    with Pods(tmp_path, description_of("gpu", "cpu-0", "cpu-1", port=free_pair())) as pods:
        leader = {"MOTLEY_LEADER": "localhost"}
        pods.start("cpu-1", MOTLEY_POD_FIRST="1", JOB_COMPLETION_INDEX="1", **leader)
        until_waiting(pods, "cpu-1")
        pods.start("cpu-0", MOTLEY_POD_FIRST="1", JOB_COMPLETION_INDEX="0", **leader)
        pods.start("gpu", MOTLEY_POD_FIRST="0", JOB_COMPLETION_INDEX="0", **leader)
        assert [pods.code(name) for name in ("gpu", "cpu-0", "cpu-1")] == [0, 0, 0], pods.log("gpu").read_text()


@pytest.mark.long
def test_a_pod_that_is_lost_is_left_behind_and_the_one_in_its_place_joins(tmp_path: Path) -> None:
    """The new one has an empty home: it gets the state of the others, and no step is done twice."""
    port = free_pair()
    with Pods(tmp_path, description_of("gpu", "cpu", port=port, steps=10_000_000)) as pods:
        number = {"gpu": {"RANK": "0", "MASTER_ADDR": "localhost"}, "cpu": {"RANK": "1", "MASTER_ADDR": "localhost"}}
        pods.start("gpu", **number["gpu"])
        pods.start("cpu", **number["cpu"])
        until_step(pods, "cpu", 5)
        pods.kill("cpu")
        until_groups(pods, "gpu", [2, 1])
        until_step(pods, "gpu", max(steps_of(pods, "gpu"), default=0) + 3)
        pods.start("cpu", tmp_path / "another-node", **number["cpu"])
        until_groups(pods, "gpu", [2, 1, 2])
        until_step(pods, "cpu", max(steps_of(pods, "gpu"), default=0))
        done = steps_of(pods, "gpu")
        assert done == list(range(1, len(done) + 1))

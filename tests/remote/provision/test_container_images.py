"""Runs on hosts whose ranks are in containers, as the hosts and the console see them: with a stand-in for docker.

tests/containers has what only the real one can show.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from motley.remote.launch.prepare_hosts import preflight
from motley.trainer.contract.wire import Event
from motley.trainer.host.paths import read_json
from motley.trainer.supervisor import containers
from motley.trainer.supervisor.container_commands import tag_of
from tests.remote import stand_in_docker
from tests.remote.session.test_follow_run import trains
from tests.remote.stage import Seen, Stage

CONTAINED = {"box0": "", "box1": 'runtime = "docker"\nimage = "mine:1"'}


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = stand_in_docker.install(tmp_path / "docker")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


async def test_the_ranks_of_a_host_are_in_containers_and_nothing_is_left_of_them(stage: Stage, docker: Path) -> None:
    cluster = stage.cluster(hosts=CONTAINED)
    assert await preflight(cluster, lambda _: None) == ()
    session = stage.session("night", seen := Seen(), cluster)
    await session.launch()
    await seen.further(5)
    folder = stage.run_folder("night", "box1")
    (running,) = (docker / "running").iterdir()
    assert f"motley.tag={tag_of(folder)},motley.run=night,motley.host=box1,motley.member=1" == running.read_text()
    assert "PATH=" not in Path(f"/proc/{running.name}/environ").read_text()
    assert read_json(folder / "state.json")["forks"] is None
    assert read_json(folder / "spec.json")["container"] == {
        "runtime": "docker", "image": "mine:1", "id": "sha256:8f5a", "rootless": False, "mounts": [],
    }  # fmt: skip
    again = stage.session("again", Seen(), cluster)
    assert await again.take_over(session, resume=None) == "ranks in containers are started anew each time"
    assert (await session.stop("enough")).unanswered == ()
    await session.close()
    assert stage.alive() == []
    assert list((docker / "running").iterdir()) == []


async def test_a_client_that_is_killed_leaves_no_second_rank_behind(stage: Stage, docker: Path) -> None:
    session = stage.session("night", seen := Seen(), stage.cluster(hosts=CONTAINED))
    await session.launch()
    await seen.further(5)
    (before,) = (docker / "running").iterdir()
    (rank,) = read_json(stage.run_folder("night", "box1") / "state.json")["ranks"]
    os.kill(rank["pid"], signal.SIGKILL)
    await seen.until(lambda record: isinstance(record, Event) and record.kind == "rank_killed")
    await seen.until(trains(1, generation=2))
    (after,) = (docker / "running").iterdir()
    assert before != after
    assert (await session.stop("enough")).unanswered == ()
    await session.close()
    assert stage.alive() == []


async def test_a_docker_that_does_not_answer_is_no_stop_that_left_nothing(stage: Stage, docker: Path) -> None:
    session = stage.session("night", seen := Seen(), stage.cluster(hosts=CONTAINED))
    await session.launch()
    await seen.further(5)
    (docker / "silent").touch()
    assert (await session.stop("enough")).unanswered == ("box1",)
    assert stage.alive() == []
    events = (stage.run_folder("night", "box1") / "events.jsonl").read_text()
    assert "whether a container is left is not known: docker does not say" in events
    await session.close()
    (docker / "silent").unlink()
    assert containers.end("docker", stage.run_folder("night", "box1")) == 0


def test_only_what_belongs_to_the_run_is_ended(docker: Path, tmp_path: Path) -> None:
    mine, other = tag_of(tmp_path), tag_of(tmp_path / "other")
    for name, labels in (("999999998", f"motley.tag={mine}"), ("999999999", f"motley.tag={other}")):
        (docker / "running" / name).write_text(labels)
    assert containers.counts("docker") == {mine: 1, other: 1}
    assert containers.end("docker", tmp_path, member=3) == 0
    assert containers.counts("docker") == {mine: 1, other: 1}
    assert containers.end("docker", tmp_path) == 0
    assert containers.counts("docker") == {other: 1}

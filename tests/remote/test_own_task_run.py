"""A run of a task of the user's own as consoles see it, on demo hosts whose ranks train nothing: what is pushed, what
the hosts are told, who may join, and what a warm restart keeps."""

from __future__ import annotations

import json
from typing import Any

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.errors import CommandFailed, ConfigError, UsageError
from motley.remote.feed import Layout
from motley.remote.hosts.pool import Hosts
from motley.remote.launch.prepare_hosts import preflight
from motley.remote.rpc.clean import survey
from motley.remote.rpc.verbs import Verbs
from motley.remote.session.session import Session
from tests.remote.stage import HOSTS, Seen, Stage

THREE = {**HOSTS, "box2": ""}


def project(stage: Stage, text: str = "WIDTH = 1\n") -> None:
    folder = stage.folder / "tasks"
    folder.mkdir(exist_ok=True)
    (folder / "night.py").write_text(text)
    (folder / "model.py").write_text("DEPTH = 2\n")


def own(stage: Stage, *more: str, hosts: Any = HOSTS) -> Cluster:
    """The cluster with a task of the user's own, whose parameter is given on the command line."""
    stage.cluster(hosts=hosts)
    return load(stage.folder / "cluster.toml", ["run.task=tasks/night.py:Night", "task.width=3", *more])


async def launched(stage: Stage) -> tuple[Session, Seen]:
    project(stage)
    session = stage.session("night", seen := Seen(), own(stage))
    await session.launch()
    await seen.further(5)
    return session, seen


def told(stage: Stage, run: str, host: str) -> dict[str, Any]:
    table: dict[str, Any] = json.loads((stage.run_folder(run, host) / "spec.json").read_bytes())
    return table


async def test_every_host_gets_the_project_and_hears_what_is_trained(stage: Stage) -> None:
    session, seen = await launched(stage)
    for host in HOSTS:
        spec = told(stage, "night", host)
        tree = spec["own_task"].pop("tree")
        assert spec["own_task"] == {"file": "night.py", "module": "", "name": "Night", "parameters": {"width": 3}}
        assert (spec["script"], spec["options"]["task"]) == (None, "tasks/night.py:Night")
        code = stage.run_folder("night", host).parents[2] / "code" / tree
        assert (code / "night.py").read_text() == "WIDTH = 1\n"
        assert (code / "model.py").is_file()
    (layout,) = [record for record in seen.records if isinstance(record, Layout)]
    assert (layout.task, layout.script, layout.policy, layout.global_batch) == (
        "tasks/night.py:Night", False, "dynamic", 256,
    )  # fmt: skip
    async with Hosts(own(stage)) as hosts:
        kept = (await survey(Verbs(hosts, stage.tree), ["box1"]))["box1"]
        assert isinstance(kept, list)
        assert {item.name: item.used for item in kept}[tree] == "night may use it"
    other = stage.session("night", elsewhere := Seen())
    await other.attach()
    (found,) = [record for record in elsewhere.records if isinstance(record, Layout)]
    assert (found.task, found.script) == (layout.task, False)
    assert (await session.stop("enough")).unanswered == ()
    assert stage.alive() == []


async def test_a_file_that_is_not_there_is_told_before_anything_is_started(stage: Stage) -> None:
    project(stage)
    (stage.folder / "tasks/night.py").unlink()
    wanted = r"run\.task: there is no file .*/tasks/night\.py"
    with pytest.raises(ConfigError, match=wanted):
        await stage.session("night", Seen(), own(stage)).launch()
    with pytest.raises(ConfigError, match=wanted):
        await preflight(own(stage), lambda _: None)
    assert not stage.experiment("night").exists()


async def test_a_host_joins_with_the_files_and_the_parameters_that_the_run_began_with(stage: Stage) -> None:
    session, seen = await launched(stage)
    stage.cluster(hosts=THREE)  # a host more in cluster.toml makes no other project
    await session.join("box2")
    first, new = told(stage, "night", "box0"), told(stage, "night", "box2")
    assert (new["own_task"], new["options"]) == (first["own_task"], first["options"])
    assert (stage.run_folder("night", "box2").parents[2] / "code" / new["own_task"]["tree"] / "night.py").is_file()
    await session.stop("enough")
    assert seen.records


async def test_a_host_can_t_join_with_other_files_or_other_parameters(stage: Stage) -> None:
    session, _ = await launched(stage)
    stage.cluster(hosts=THREE)
    project(stage, "WIDTH = 2\n")
    with pytest.raises(UsageError, match=r"the project here has the hash [0-9a-f]+, that of the run [0-9a-f]+\. Make"):
        await session.join("box2")
    project(stage)
    path = stage.run_folder("night", "box0") / "spec.json"
    spec = json.loads(path.read_bytes())
    spec["own_task"]["parameters"] = {"width": 4, "evil": True}
    path.write_text(json.dumps(spec))
    with pytest.raises(
        UsageError, match=r"task.width is 3 here, 4 there; task.evil is not set here, True there\. Make"
    ):
        await session.join("box2")
    spec["own_task"] = None
    path.write_text(json.dumps(spec))
    with pytest.raises(UsageError, match=r"hash [0-9a-f]+, that of the run none"):
        await session.join("box2")
    assert not stage.run_folder("night", "box2").exists()
    await session.stop("enough")


async def test_a_leader_that_tells_of_a_task_in_another_form_keeps_the_host_out(stage: Stage) -> None:
    session, _ = await launched(stage)
    stage.cluster(hosts=THREE)
    path = stage.run_folder("night", "box0") / "spec.json"
    spec = json.loads(path.read_bytes())
    lies: list[Any] = [{"tree": 5}, {"parameters": "evil"}, {"parameters": None}, {"more": 1}]
    for lie in [*({**spec["own_task"], **lie} for lie in lies), ["evil"], "evil", {"tree": "x"}, {"file": "x"}]:
        path.write_text(json.dumps({**spec, "own_task": lie}))
        with pytest.raises((UsageError, CommandFailed)):
            await session.join("box2")
    path.write_text(json.dumps({**spec, "own_task": None, "script": {"path": "", "args": [], "tree": 5, "port": 1}}))
    with pytest.raises(CommandFailed, match="tells of the user's own files in another form"):
        await session.join("box2")
    assert not stage.run_folder("night", "box2").exists()
    await session.stop("enough")


async def test_a_warm_restart_goes_on_with_the_same_files_and_parameters(stage: Stage) -> None:
    old, _ = await launched(stage)
    before = _supervisor(stage, "night")
    new = stage.session("day", seen := Seen(), own(stage, "run.learning_rate=0.5"))
    assert await new.take_over(old, resume="night") == ""
    await seen.further(5)
    assert _supervisor(stage, "day") == before
    for host in HOSTS:
        assert told(stage, "day", host)["own_task"] == told(stage, "night", host)["own_task"]
        assert told(stage, "day", host)["options"]["learning_rate"] == 0.5
    await old.wait()
    await old.close()
    await new.stop("enough")
    await new.close()
    assert stage.alive() == []


async def test_what_makes_a_restart_of_an_own_task_a_cold_one(stage: Stage) -> None:
    old, seen = await launched(stage)

    async def why(cluster: Cluster) -> str:
        return await stage.session("day", Seen(), cluster).take_over(old, resume="night")

    assert await why(own(stage, "task.width=4")) == "[task] has changed"
    project(stage, "WIDTH = 2\n")
    assert await why(own(stage)) == "your task's files have changed"
    (stage.folder / "tasks/night.py").unlink()
    assert "run.task: there is no file" in await why(own(stage))
    assert not stage.experiment("day").exists()
    await seen.further(5)
    await old.stop("enough")
    await old.close()


async def test_from_ours_to_an_own_task_is_cold_and_the_way_back_is_warm(stage: Stage) -> None:
    project(stage)
    first = stage.session("dawn", seen := Seen(), stage.cluster())
    await first.launch()
    await seen.further(5)
    assert await stage.session("day", Seen(), own(stage)).take_over(first, resume=None) == (
        "your task is not on the hosts yet"
    )
    await first.stop("enough")
    await first.close()
    old, _ = await launched(stage)
    new = stage.session("day", Seen(), stage.cluster())
    assert await new.take_over(old, resume=None) == ""
    assert told(stage, "day", "box1")["own_task"] is None
    await old.wait()
    await old.close()
    await new.stop("enough")
    await new.close()
    assert stage.alive() == []


def _supervisor(stage: Stage, run: str) -> int:
    pid: int = json.loads((stage.run_folder(run, "box0") / "state.json").read_bytes())["pid"]
    return pid

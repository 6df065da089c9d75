"""Hosts that come to a run after its start or are taken out; on demo hosts, with ranks that train nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from motley.remote.config.load import load
from motley.remote.diagnosis.host_clocks import Clocks
from motley.remote.errors import CheckFailed, ConfigError, UsageError
from motley.remote.feed import FeedRecord, Layout, Link, Progress
from motley.remote.launch.placement import Pace
from motley.remote.session import runs
from motley.remote.session.session import Session
from motley.trainer.contract.wire import Event
from motley.trainer.host.paths import read_json
from tests.remote.session.test_follow_run import kill_supervisor, said, trains
from tests.remote.stage import HOSTS, Seen, Stage

THREE = {**HOSTS, "box2": "max_batch = 64"}


async def launched(stage: Stage) -> tuple[Session, Seen]:
    session = stage.session("night", seen := Seen(), stage.cluster())
    await session.launch()
    await seen.further(5)
    return session, seen


def group_of(*members: int) -> Callable[[FeedRecord], bool]:
    def wanted(record: FeedRecord) -> bool:
        there = isinstance(record, Event) and record.kind == "group"
        return there and [m["member"] for m in record.data["members"]] == list(members)  # type: ignore[union-attr]

    return wanted


def causes(summary: Any) -> list[tuple[str, str]]:
    return [(r["cause"], r["host"]) for r in summary["regroups"]]


async def test_a_host_that_is_new_in_cluster_toml_joins_and_every_console_sees_it(stage: Stage) -> None:
    session, seen = await launched(stage)
    other = stage.session("night", elsewhere := Seen())
    await other.attach()
    stage.cluster(hosts=THREE)
    await session.join("box2")
    await asyncio.gather(seen.until(trains(2, generation=1)), elsewhere.until(trains(2, generation=1)))
    layout = [record for record in seen.records if isinstance(record, Layout)][-1]
    assert [(rank.member, rank.host) for rank in layout.ranks] == [(0, "box0"), (1, "box1"), (2, "box2")]
    assert layout.speeds == dict.fromkeys(THREE, 1.0)
    assert layout.emulated == set(THREE)
    spec = json.loads((stage.run_folder("night", "box2") / "spec.json").read_bytes())
    assert (spec["joins"], spec["speed"], spec["leader"]) == (True, 1.0, "box0")
    for host in THREE:  # each knows who belongs to the run, should it lead one day
        assert read_json(stage.run_folder("night", host) / "roll.json")["added"][0]["host"] == "box2"
    with pytest.raises(UsageError, match="box2 is at work in 'night' already"):
        await session.join("box2")
    ended = await session.stop("enough")
    assert (ended.state, ended.unanswered) == ("stopped", ())
    assert causes(ended.summary) == [("joined", "box2")]
    assert [(h["name"], h["ranks"], h["state"]) for h in ended.summary["hosts"]][2] == ("box2", 1, "stopped")
    await other.close()
    await session.close()
    assert stage.alive() == []
    assert set(stage.metrics("night")) == {0, 1, 2}


@pytest.mark.long
async def test_a_new_host_brings_its_profile_and_gets_its_environment(stage: Stage) -> None:
    cluster = stage.cluster()
    made = Session(cluster, "night", emit=(seen := Seen()), tree=stage.tree, knows=lambda *_: Pace(a_ms=2.0, c_ms=0.25))
    stage._sessions.append(made)
    await made.launch()
    await seen.further(3)
    (stage.folder / "none.txt").write_text("# nothing more\n")
    stage.cluster(hosts={**THREE, "box2": f'{THREE["box2"]}\nrequirements = "none.txt"'})
    await made.join("box2")
    await seen.until(group_of(0, 1, 2))
    (member,) = read_json(stage.run_folder("night", "box0") / "roll.json")["added"]
    assert (member["member"], member["a_ms"], member["c_ms"], member["max_batch"]) == (2, 2.0, 0.25, 64)
    assert "/.motley/env/" in read_json(stage.run_folder("night", "box2") / "spec.json")["python"]
    await made.stop("enough")


async def test_a_new_host_that_is_not_in_order_is_refused_and_the_run_goes_on(stage: Stage) -> None:
    session, seen = await launched(stage)
    stage.cluster(hosts={**HOSTS, "box2": 'python = "/no/such/python"'})
    with pytest.raises(CheckFailed) as failed:
        await session.join("box2")
    assert [(f.host, f.level) for f in failed.value.findings] == [("box2", "error")]
    with pytest.raises(UsageError, match=r"cluster\.toml has no host box7"):
        await session.join("box7")
    (stage.folder / "cluster.toml").write_text("[[hosts]]\nname = 7\n")
    with pytest.raises(ConfigError):
        await session.join("box2")
    stage.cluster(hosts=THREE)  # mended
    await session.join("box2")
    await seen.until(group_of(0, 1, 2))
    await session.stop("enough")
    assert stage.alive() == []


async def test_a_host_is_taken_out_and_let_in_again(stage: Stage) -> None:
    stage.cluster(hosts=THREE)
    session = stage.session("night", seen := Seen())
    await session.launch()
    await seen.further(5)
    assert await session.drop("box2")
    await seen.until(trains(0, generation=1))
    assert said(seen, "box2 is taken out of the run")
    assert read_json(stage.run_folder("night", "box2") / "state.json")["state"] == "stopped"
    with pytest.raises(UsageError, match="box2 was taken out of 'night' already"):
        await session.drop("box2")
    with pytest.raises(UsageError, match=r"box0 leads 'night'.*motley stop night"):
        await session.drop("box0")
    await session.join("box2")
    await seen.until(trains(2, generation=2))
    ended = await session.stop("enough")
    await session.close()
    assert causes(ended.summary) == [("dropped", "box2"), ("joined", "box2")]
    assert stage.alive() == []
    assert stage.metrics("night") == seen.sequences()


async def test_a_run_without_the_host_that_was_taken_out_finishes(stage: Stage) -> None:
    stage.cluster(steps=40, hosts=THREE, WAITS_AT="20")
    session = stage.session("night", seen := Seen())
    await session.launch()
    await seen.further(5)
    await session.drop("box2")
    stage.go_on("night")
    ended = await session.wait()
    await session.close()
    assert (ended.state, ended.summary["steps"]) == ("finished", 40)
    assert {h["name"]: h["state"] for h in ended.summary["hosts"]} == {
        "box0": "finished", "box1": "finished", "box2": "dropped",
    }  # fmt: skip
    assert stage.alive() == []


@pytest.mark.long
async def test_from_the_command_line_a_host_comes_and_goes_and_one_that_was_lost_comes_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, _ = await launched(stage)
    await session.close()  # nobody watches
    monkeypatch.setattr("motley.remote.provision.push_code.Tree.installed", lambda: stage.tree)
    cluster = stage.cluster(hosts=THREE)
    told: list[FeedRecord] = []
    await runs.join(cluster, "night", "box2", told.append, lambda *_: Pace())
    assert {record.host for record in told if isinstance(record, Progress)} == {"box2"}
    assert any("box2 is new" in record.text for record in told if isinstance(record, Event))
    kill_supervisor(stage, "box1")
    await runs.join(cluster, "night", "box1", told.append, lambda *_: Pace())
    said: list[str] = []
    assert await runs.drop(cluster, "night", "box2", said.append)
    assert said[-1] == "taking box2 out of 'night': its ranks end, the others go on"
    ended, _ = await runs.stop(cluster, "night", "enough")
    assert causes(ended.summary) == [
        ("joined", "box2"), ("lost", "box1"), ("joined", "box1"), ("dropped", "box2"),
    ]  # fmt: skip
    assert stage.alive() == []


@pytest.mark.long
async def test_a_host_that_came_later_leads_when_the_leader_is_gone(stage: Stage) -> None:
    session, seen = await launched(stage)
    stage.cluster(hosts=THREE)
    await session.join("box2")
    await seen.until(trains(2, generation=1))
    await session.drop("box1")
    await seen.until(trains(2, generation=2))
    kill_supervisor(stage, "box0")
    await seen.until(trains(2, generation=3))
    assert said(seen, "box0, which led the run, is gone: box2 leads it from now on")
    await seen.until(trains(0, generation=3))  # it came back as a member; box1 did not
    ended = await session.stop("enough")
    assert ended.unanswered == ()
    assert {h["name"]: h["state"] for h in ended.summary["hosts"]}["box1"] == "dropped"
    assert stage.alive() == []


LIES: dict[str, Any] = {
    "script": {"path": "-c", "args": ["import os; os.system('evil')"], "tree": "f" * 24, "port": 1},
    "options": {"task": "evil/digits", "args": ["evil"]},
    "data": {"path": "/evil"},
    "balance": {"policy": "proportional"},
}


@pytest.mark.parametrize(("part", "told"), [
    ("script", f"the project here has the hash none, that of the run {'f' * 24}"),
    ("options", "run.task is 'simple_cnn/digits' here, 'evil/digits' there"),
    ("data", "data.path is None here, '/evil' there"),
    ("balance", "balance.policy is 'dynamic' here, 'proportional' there"),
])  # fmt: skip
async def test_a_leader_that_lies_of_what_the_run_is_keeps_the_host_out_and_no_more(
    stage: Stage, part: str, told: str
) -> None:
    session, _ = await launched(stage)
    lie(stage, part, LIES[part])
    stage.cluster(hosts=THREE)
    with pytest.raises(UsageError, match="'night' can't be joined from here") as refused:
        await session.join("box2")
    assert told in str(refused.value)
    assert not stage.run_folder("night", "box2").exists()
    await session.stop("enough")


async def test_nothing_that_a_leader_says_is_executed_by_a_host_that_joins(stage: Stage) -> None:
    session, seen = await launched(stage)
    for key, value in {
        "env": {"LD_PRELOAD": "/evil"}, "python": "/evil", "resume": "/evil", "speed": 0.1,
        "container": {"runtime": "/evil", "image": "evil", "id": "evil"}, "phases": {"evil": 1.0},
    }.items():  # fmt: skip
        lie(stage, key, value)
    stage.cluster(hosts=THREE)
    await session.join("box2")
    await seen.until(group_of(0, 1, 2))
    given = (stage.run_folder("night", "box2") / "spec.json").read_text()
    assert "evil" not in given
    assert json.loads(given)["speed"] == 1.0
    await session.stop("enough")


async def test_what_the_command_line_changed_holds_for_hosts_that_join(stage: Stage) -> None:
    stage.cluster()
    cluster = load(stage.folder / "cluster.toml", ["run.learning_rate=0.25", "run.steps=999999"])
    session = stage.session("night", seen := Seen(), cluster)
    await session.launch()
    await seen.further(5)
    stage.cluster(hosts=THREE)
    other = stage.session("night", Seen())
    await other.attach()
    await other.join("box2")
    await seen.until(group_of(0, 1, 2))
    options = json.loads((stage.run_folder("night", "box2") / "spec.json").read_bytes())["options"]
    assert (options["learning_rate"], options["steps"]) == (0.25, 999999)
    await session.stop("enough")
    await other.close()


def lie(stage: Stage, key: str, value: Any) -> None:
    """The host that leads says something else of the run from now on."""
    path = stage.run_folder("night", "box0") / "spec.json"
    table = json.loads(path.read_bytes())
    changed = {**table[key], **value} if isinstance(table.get(key), dict) and key != "env" else value
    path.write_text(json.dumps({**table, key: changed}))


@pytest.mark.parametrize("ahead_s", [0.0, 3600.0])
def test_what_a_host_told_of_an_earlier_joining_is_not_told_of_this_one(ahead_s: float) -> None:
    clocks = Clocks()
    clocks.hear(Link(host="box1", up=True, text="connected", clock_offset_s=ahead_s))
    began = 1_700_000_000.0

    def told(time: float) -> bool:
        event = Event(
            time=time + ahead_s, host="box1", source="rank 1", kind="phase", text="", level="info", data={}
        )  # fmt: skip
        return not runs.of_before(event, began, clocks)

    assert not told(began - 30)
    assert told(began + 0.5)

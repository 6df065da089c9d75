"""What the hosts know of runs, from any machine with the cluster.toml: listing, stopping, reading logs."""

from __future__ import annotations

import shutil
import socket
from typing import Any

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.errors import UsageError
from motley.remote.session import runs
from motley.trainer.contract.wire import Event
from tests.remote.stage import Seen, Stage


def row(run: str, leader: str, state: str, *, step: int | None = None, started: float = 1.0) -> dict[str, Any]:
    return {"run": run, "leader": leader, "state": state, "step": step, "left": 3, "started": started, "cause": None}


def test_the_leader_s_word_on_state_and_step_counts() -> None:
    tables = {
        "box1": [row("night", "box2", "running")],
        "box2": [row("night", "box2", "finished", step=40), row("day", "box2", "running", started=2.0)],
        "box3": [{**row("night", "box2", "failed"), "cause": "box3 ran out of memory"}],
    }
    day, night = runs.merge(tables)  # the newest first
    assert (day["run"], day["state"], day["step"]) == ("day", "running", None)
    assert (night["state"], night["step"], night["cause"]) == ("finished", 40, "box3 ran out of memory")
    assert [(host["name"], host["state"], host["left"]) for host in night["hosts"]] == [
        ("box1", "running", 3),
        ("box2", "finished", 3),
        ("box3", "failed", 3),
    ]
    assert set(day) == {"run", "state", "step", "hosts"}
    resumed = {**row("day", "box1", "running"), "layout": {"resumed_from": "night"}}
    assert runs.merge({"box1": [resumed]})[0]["resumed_from"] == "night"
    rates = {"samples_per_s": 12.5, "tokens_per_s": 6140, "steps": 3}
    (told,) = runs.merge({"box1": [{**resumed, "rates": rates}]})
    assert (told["samples_per_s"], told["tokens_per_s"], "steps" in told) == (12.5, 6140.0, False)
    assert "tokens_per_s" not in runs.merge({"box1": [{**resumed, "rates": {"tokens_per_s": "many"}}]})[0]
    assert "resumed_from" not in runs.merge({"box1": [{**resumed, "layout": True}]})[0]  # from a host that lies


def test_without_the_leader_the_others_tell() -> None:
    (night,) = runs.merge({"box1": [row("night", "box2", "running")]})
    assert (night["state"], night["step"]) == ("running", None)


def test_while_a_host_joins_what_is_waited_for_is_told() -> None:
    def event(kind: str, **data: Any) -> Event:
        return Event(time=1.0, host="box2", source="rank 2", kind=kind, text="", data=data)

    told = runs.waits_for(event("phase", member=2, phase="importing torch"))
    assert told is not None
    assert (told.host, told.stage, told.text) == ("box2", "join", "importing torch, which takes some seconds")
    assert runs.waits_for(event("phase", member=2, phase="training")) is None
    assert runs.waits_for(event("phase", member=2, phase=["joining"])) is None
    assert runs.waits_for(event("note", phase="joining")) is None


def test_no_run_at_all() -> None:
    assert runs.merge({"box1": []}) == runs.merge({}) == []


@pytest.mark.long
async def test_listing_and_stopping_from_the_hosts_alone(stage: Stage) -> None:
    cluster = stage.cluster()
    with pytest.raises(UsageError, match="the hosts know of no run"):
        await runs.newest(cluster)
    session = stage.session("night", seen := Seen(), cluster)
    await session.launch()
    await seen.further(5)
    await session.close()
    shutil.rmtree(stage.folder / "experiments")
    (night,) = (await runs.status(cluster))["runs"]
    assert (night["run"], night["state"]) == ("night", "running")
    assert [(host["name"], host["state"]) for host in night["hosts"]] == [("box0", "running"), ("box1", "running")]
    assert min(host["left"] for host in night["hosts"]) >= 2
    assert await runs.newest(cluster) == "night"
    ended, over = await runs.stop(cluster, "night", "motley stop")
    assert (ended.state, ended.unanswered, over) == ("stopped", (), False)
    ended, over = await runs.stop(cluster, "night", "motley stop")
    assert (ended.state, ended.unanswered, over) == ("stopped", (), True)
    assert stage.alive() == []
    assert stage.summary("night")["state"] == "stopped"
    (night,) = (await runs.status(cluster))["runs"]
    assert (night["state"], [host["left"] for host in night["hosts"]]) == ("stopped", [0, 0])
    with pytest.raises(UsageError, match="no host knows a run named 'day'"):
        await runs.stop(cluster, "day", "motley stop")


async def test_a_run_is_stopped_also_where_nothing_of_it_can_be_kept(stage: Stage) -> None:
    cluster = stage.cluster()
    session = stage.session("night", seen := Seen(), cluster)
    await session.launch()
    await seen.further(2)
    await session.close()
    lock = stage.experiment("night") / ".lock"
    lock.unlink()
    lock.mkdir()  # as good as a disk that is full or read-only
    watching = stage.session("night", again := Seen())
    await watching.attach()
    await again.further(2)
    ended, over = await runs.stop(cluster, "night", "motley stop")
    assert (ended.state, ended.unanswered, over, stage.alive()) == ("stopped", (), False, [])
    await watching.wait()
    await watching.close()
    warnings = [r.text for r in again.records if isinstance(r, Event) and r.level == "warning"]
    assert [text for text in warnings if "night/.lock can't be written: Is a directory" in text] == warnings[:1]


async def test_hosts_that_do_not_answer_are_named(stage: Stage) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        off = f'connect = "ssh"\naddress = "127.0.0.1"\nport = {free.getsockname()[1]}'
        cluster = stage.cluster(hosts={"box0": "", "off": off})
        found = await runs.status(cluster)
        assert found["runs"] == []
        assert [silent["host"] for silent in found["unreachable"]] == ["off"]
        assert found["unreachable"][0]["cause"]
        assert found["unreachable"][0]["remedy"]
        with pytest.raises(UsageError, match="the hosts know of no run; no answer from off"):
            await runs.newest(cluster)


async def test_logs_of_a_run_that_is_over(stage: Stage) -> None:
    """The same lines from the hosts, and from the experiment folder once it has them."""
    cluster = stage.cluster(steps=10)
    session = stage.session("night", Seen(), cluster)
    await session.launch()
    await session.wait()
    await session.close()
    expected = [f"step {n} red" for n in range(1, 11)]
    here = [line async for line in runs.logs(cluster, "night", 1, follow=False)]
    assert ([line.text for line in here][1:], {(line.host, line.member) for line in here}) == (expected, {("box1", 1)})
    assert all(line.time is not None for line in here)
    await no_rank_9(cluster)
    shutil.rmtree(stage.folder / "experiments")
    await no_rank_9(cluster)
    there = [line async for line in runs.logs(cluster, "night", None, follow=False)]
    for member in (0, 1):
        assert [line.text for line in there if line.member == member][1:] == expected
    happened = [row for row in there if row.member is None]
    assert len(happened) > 2
    times = [row.time for row in there if row.time is not None]
    assert len(times) == len(there)
    assert times == sorted(times)
    assert {row.host for row in happened} >= {"box0", "box1"}


async def no_rank_9(cluster: Cluster) -> None:
    with pytest.raises(UsageError, match="'night' has no rank 9: its ranks are 0, 1"):
        _ = [line async for line in runs.logs(cluster, "night", 9, follow=False)]


async def test_following_logs_until_the_end_or_as_long_as_they_are_read(stage: Stage) -> None:
    cluster = stage.cluster(steps=150)
    session = stage.session("night", Seen(), cluster)
    await session.launch()
    await session.close()
    early = runs.logs(cluster, "night", 1, follow=True)
    first = await early.__anext__()
    await early.aclose()  # `motley logs -f | head -1`
    lines = [line.text async for line in runs.logs(cluster, "night", 1, follow=True)]
    assert first.text == lines[0] == "going on from None"
    assert lines[1:] == [f"step {n} red" for n in range(1, 151)]
    assert stage.summary("night")["state"] == "finished"


@pytest.mark.longest
async def test_a_host_whose_newest_lines_are_missing_from_the_logs_is_named(stage: Stage) -> None:
    session = stage.session("night", seen := Seen(), stage.cluster())
    await session.launch()
    await seen.further(5)
    await session.close()
    said: list[str] = []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        off = f'connect = "ssh"\naddress = "127.0.0.1"\nport = {free.getsockname()[1]}'
        cluster = stage.cluster(hosts={"box0": "", "box1": off})
        rows = [row async for row in runs.logs(cluster, "night", None, follow=False, told=said.append)]
    assert {row.host for row in rows} >= {"box0"}
    assert said == ["box1 can't be reached: what was told there since the last look is missing"]
    assert (await runs.stop(stage.cluster(), "night", "motley stop"))[0].unanswered == ()

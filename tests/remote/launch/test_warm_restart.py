"""A warm restart as the console's sessions see it: on demo hosts, with ranks that train nothing."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.errors import RunFailed
from motley.remote.feed import LogLine
from motley.remote.session.session import Session
from motley.trainer.contract.wire import Event
from motley.trainer.host.paths import read_json
from tests.remote.stage import FOREVER, HOSTS, Seen, Stage

DAY = "the-day-that-follows-the-night"  # longer than the name that the processes were started with


async def under_way(stage: Stage) -> Session:
    session = stage.session("night", seen := Seen(), stage.cluster(steps=FOREVER))
    await session.launch()
    await seen.further(20)
    return session


def pids(stage: Stage, run: str) -> list[tuple[int, int]]:
    """Of the supervisor and the fork server of each host."""
    states = [read_json(stage.run_folder(run, host) / "state.json") for host in HOSTS]
    return [(state["pid"], state["forks"]) for state in states]


def tagged(stage: Stage, run: str) -> list[int]:
    """Processes of this run alone."""
    tag = f"MOTLEY_RUN={run}".encode()
    found = []
    for pid in stage.alive():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:  # it may have ended
            if tag in file.read().split(b"\0"):
                found.append(pid)
    return found


async def test_the_processes_stay_and_both_runs_are_complete(stage: Stage) -> None:
    old = await under_way(stage)
    before = pids(stage, "night")
    new = stage.session(DAY, seen := Seen(), stage.cluster(steps=30))
    assert await new.take_over(old, resume="night") == ""
    assert pids(stage, DAY) == before
    assert tagged(stage, "night") == []
    first = await old.wait()
    await old.close()
    assert (first.state, first.unanswered) == ("stopped", ())
    assert stage.summary("night") == first.summary
    assert first.summary["state"] == "stopped"
    assert stage.metrics("night")[0] == list(range(first.summary["steps"]))
    second = await new.wait()  # `old` was closed: the connections are not its own any more
    await new.close()
    assert (second.state, second.summary["steps"]) == ("finished", 30)
    assert set(second.summary["phases"]) >= {"connect_s", "push_s", "spawn_s", "import_s", "rendezvous_s"}
    lines = [record.text for record in seen.records if isinstance(record, LogLine) and record.member == 0]
    assert lines[0] == "going on from ~/.motley/runs/night/box0/checkpoints"
    texts = [record.text for record in seen.records if isinstance(record, Event)]
    assert "warm restart of 'night': torch is imported already" in texts
    assert stage.alive() == []


async def test_a_console_that_only_found_the_run_restarts_it_warm_too(stage: Stage) -> None:
    first = await under_way(stage)
    await first.close()
    old = stage.session("night", Seen())
    await old.attach()
    await old.caught_up()
    before = pids(stage, "night")
    new = stage.session("day", seen := Seen())
    assert await new.take_over(old, resume="night") == ""
    await seen.further(5)
    assert pids(stage, "day") == before
    await old.wait()
    await old.close()
    ended = await new.stop("enough")
    await new.close()
    assert (ended.state, ended.unanswered) == ("stopped", ())
    assert stage.alive() == []


async def test_a_run_of_which_no_host_was_heard_yet_is_restarted_warm_too(stage: Stage) -> None:
    old = stage.session("night", Seen(), stage.cluster(steps=FOREVER))
    await old.launch()
    between = stage.session("day", Seen())
    assert await between.take_over(old, resume=None) == ""
    new = stage.session("evening", seen := Seen())
    assert await new.take_over(between, resume=None) == ""
    await seen.further(5)
    for session in (old, between):
        await session.wait()
        await session.close()
    assert (await new.stop("enough")).unanswered == ()
    await new.close()
    assert stage.alive() == []


async def test_what_a_host_has_against_it_is_said_and_changes_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIVEN", "old")
    given = 'pass_env = ["GIVEN"]'
    hosts = {"box0": given, "box1": "", "box2": given}
    old = stage.session("night", seen := Seen(), stage.cluster(steps=FOREVER, hosts=hosts))
    await old.launch()
    await seen.further(5)
    monkeypatch.setenv("GIVEN", "new")
    new = stage.session("day", Seen())
    assert await new.take_over(old, resume="night") == "box0, box2: its environment has changed (GIVEN)"
    assert not stage.experiment("day").exists()
    assert tagged(stage, "day") == []
    await seen.further(5)
    assert (await old.stop("enough")).unanswered == ()
    await old.close()
    await new.close()


async def test_what_speaks_against_it_from_here_is_said(stage: Stage) -> None:
    old = await under_way(stage)

    async def why(cluster: Cluster) -> str:
        return await stage.session("day", Seen(), cluster).take_over(old, resume="night")

    assert await why(stage.cluster(hosts={"box0": ""})) == "cluster.toml has other hosts"
    assert await why(stage.cluster(SPEED="1")) == "box0 has changed in cluster.toml"
    others = {"box0": 'devices = ["cuda:0"]', "box1": ""}
    assert await why(stage.cluster(hosts=others)) == "box0 is to use other devices"
    same = stage.cluster()
    changed = stage.session("day", Seen(), same)
    changed._verbs.tree = dataclasses.replace(changed._verbs.tree, hash="0" * 24)
    assert await changed.take_over(old, resume="night") == "the code has changed"
    namesake = stage.session("night", Seen(), same)
    assert await namesake.take_over(old, resume=None) == "there is a run named 'night' already"
    assert (await old.stop("enough")).unanswered == ()
    assert await why(same) == "no run is under way"
    await old.close()


async def test_a_host_that_breaks_its_word_ends_the_new_run_everywhere(stage: Stage) -> None:
    old = await under_way(stage)
    (stage.run_folder("day", "box1").parent).mkdir(parents=True)
    stage.run_folder("day", "box1").write_text("in the way")
    new = stage.session("day", Seen())
    with pytest.raises(RunFailed, match="box1"):
        await new.take_over(old, resume="night")
    assert stage.summary("day")["state"] == "failed"
    assert (await old.stop("r in the console")).unanswered == ()
    await old.close()
    assert stage.alive() == []

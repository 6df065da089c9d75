"""Hosts that fall out of a run and come back, the leader among them; on demo hosts, with ranks that train nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from motley.remote.errors import Unreachable, UsageError
from motley.remote.feed import FeedRecord
from motley.remote.hosts.pool import Hosts
from motley.remote.rpc.verbs import Verbs
from motley.trainer.contract.run_changes import Lead
from motley.trainer.contract.wire import Event, Sample
from motley.trainer.host.paths import read_json
from tests.remote.stage import Seen, Stage


def kill_supervisor(stage: Stage, host: str) -> None:
    os.kill(read_json(stage.run_folder("night", host) / "state.json")["pid"], signal.SIGKILL)


def trains(member: int, generation: int) -> Callable[[FeedRecord], bool]:
    def wanted(record: FeedRecord) -> bool:
        return isinstance(record, Sample) and record.member == member and record.generation >= generation

    return wanted


def has_made(member: int, step: int) -> Callable[[FeedRecord], bool]:
    return lambda record: isinstance(record, Sample) and record.member == member and record.step >= step


def said(seen: Seen, part: str) -> bool:
    return any(isinstance(record, Event) and part in record.text for record in seen.records)


async def test_a_host_that_was_cut_off_is_brought_back(stage: Stage) -> None:
    session = stage.session("night", seen := Seen(), stage.cluster())
    await session.launch()
    await seen.further(5)
    kill_supervisor(stage, "box1")
    await seen.until(trains(1, generation=2))  # 1: the others without it
    await session.stop("enough")
    await session.close()
    assert said(seen, "box1 is back: its ranks start again")
    assert stage.metrics("night") == seen.sequences()
    assert stage.alive() == []
    causes = [(r["cause"], r["host"]) for r in stage.summary("night")["regroups"]]
    assert causes == [("lost", "box1"), ("joined", "box1")]


async def test_another_host_leads_when_the_leader_is_gone_and_it_comes_back_as_a_member(stage: Stage) -> None:
    session = stage.session("night", seen := Seen(), stage.cluster())
    await session.launch()
    await seen.further(5)
    kill_supervisor(stage, "box0")
    await seen.until(trains(1, generation=1))
    assert said(seen, "box0, which led the run, is gone: box1 leads it from now on")
    await seen.until(trains(0, generation=1))  # it may be back before the first group is formed without it
    again = stage.session("night", found := Seen())
    await again.attach()
    await found.further(5)
    ended = await again.stop("enough")
    assert (ended.state, ended.unanswered) == ("stopped", ())
    await again.close()
    await session.close()
    assert stage.alive() == []


@pytest.mark.long
async def test_a_host_that_could_not_be_told_who_leads_is_told_later(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = stage.session("night", seen := Seen(), stage.cluster(hosts=dict.fromkeys(("box0", "box1", "box2"), "")))
    await session.launch()
    await seen.further(5)
    tell = session._verbs.lead
    missed: list[str] = []

    async def misses_once(host: str, run: str, lead: Lead) -> Lead:
        if host == "box2" and not missed:
            missed.append(lead.leader)
            raise Unreachable(host, "no answer", "Plug it in.")
        return await tell(host, run, lead)

    monkeypatch.setattr(session._verbs, "lead", misses_once)
    kill_supervisor(stage, "box0")
    await seen.until(trains(2, generation=1))
    assert missed == ["box1"]
    assert said(seen, "box2 could not be told that box1 leads the run")
    await session.stop("enough")
    await session.close()
    assert stage.alive() == []


async def test_a_console_that_only_watches_brings_nobody_back_and_can_change_nothing(stage: Stage) -> None:
    first = stage.session("night", seen := Seen(), stage.cluster())
    await first.launch()
    await seen.further(5)
    watching = stage.session("night", watched := Seen(), readonly=True)
    await watching.attach()
    await watched.further(5)
    for change in (watching.stop("no"), watching.join("box1"), watching.drop("box1"), watching.launch()):
        with pytest.raises(UsageError, match="only watches 'night'"):
            await change
    await first.close()
    kill_supervisor(stage, "box1")
    await watched.until(trains(0, generation=1))
    await watched.until(has_made(0, watched.last_steps()[0] + 20))
    acting = stage.session("night", Seen())
    await acting.attach()
    await watched.until(trains(1, generation=2))
    assert not said(watched, "box1 is back")
    ended = await acting.stop("enough")
    assert (await watching.wait()).state == ended.state == "stopped"
    await acting.close()
    await watching.close()
    assert stage.alive() == []


async def test_what_a_killed_supervisor_has_left_is_swept_when_the_run_ends(stage: Stage) -> None:
    cluster = stage.cluster(STUBBORN="1")
    session = stage.session("night", seen := Seen(), cluster)
    await session.launch()
    await seen.further(5)
    await session.close()
    watching = stage.session("night", seen := Seen())
    await watching.attach(revive=False)
    kill_supervisor(stage, "box1")
    await seen.until(trains(0, generation=1))
    async with Hosts(cluster) as hosts:  # somebody ends the run on the leader alone
        await Verbs(hosts, stage.tree).stop("box0", "night", reason="enough", timeout_s=20)
    await watching.wait()
    await watching.close()
    assert stage.alive() == []


async def test_a_host_whose_connection_is_lost_while_it_comes_back_is_asked_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = stage.session("night", seen := Seen(), stage.cluster())
    await session.launch()
    await seen.further(5)
    rejoin, asked = Verbs.rejoin, []

    async def broken_off(verbs: Verbs, host: str, run: str) -> None:
        asked.append(host)
        if len(asked) == 1:
            raise Unreachable(host, "the connection was lost", "The run itself goes on; connect again.")
        await rejoin(verbs, host, run)

    monkeypatch.setattr(Verbs, "rejoin", broken_off)
    kill_supervisor(stage, "box1")
    await seen.until(trains(1, generation=2))
    assert asked == ["box1", "box1"]
    assert (await session.stop("enough")).unanswered == ()
    await session.close()
    assert stage.alive() == []


async def test_a_group_that_is_heard_of_while_the_console_leaves_is_not_followed(stage: Stage) -> None:
    """`motley run --detach` leaves in the moment in which the first group is formed, and hung once in following it."""
    session = stage.session("night", seen := Seen(), stage.cluster())
    await session.launch()
    await seen.further(5)
    following = session._following
    assert following is not None
    (group,) = {r.time: r for r in seen.records if isinstance(r, Event) and r.kind == "group"}.values()
    await following.close()
    following._emit(group)
    assert all(task.done() for task in following._tasks.values())
    assert following._telling == set()
    await session.stop("enough")
    await session.close()
    assert stage.alive() == []

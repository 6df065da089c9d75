"""Hosts that fall out of a run and come back, the leader among them; on demo hosts, with ranks that train nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from remote.feed import FeedRecord
from tests.remote.stage import Seen, Stage
from trainer.folders import read_json
from trainer.wire import Event, Sample


def kill_supervisor(stage: Stage, host: str) -> None:
    os.kill(read_json(stage.run_folder("night", host) / "state.json")["pid"], signal.SIGKILL)


def trains(member: int, generation: int) -> Callable[[FeedRecord], bool]:
    def wanted(record: FeedRecord) -> bool:
        return isinstance(record, Sample) and record.member == member and record.generation >= generation

    return wanted


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

"""Hosts that are missing, and a new coordinator: who is waited for, who is let in later, and when the run is over."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Awaitable
from pathlib import Path

import pytest

from motley.trainer.contract.generation import Group
from motley.trainer.contract.spec import ElasticOptions
from motley.trainer.contract.term import NO_TERM, Term
from motley.trainer.coordinator import base_coordinator
from motley.trainer.rank.coordinator_client import CoordinatorClient
from motley.trainer.rank.coordinator_connection import JoinError
from tests.trainer.coordinating import BOUND_S, coordinating, dial, events, led_anew, ready, spec, summary, until


async def test_below_min_hosts_the_state_is_saved_and_the_run_waits_for_others(tmp_path: Path) -> None:
    given = dataclasses.replace(spec(2), elastic=ElasticOptions(min_hosts=2))
    saved = threading.Event()

    def save(cut_off: bool) -> None:
        assert not cut_off
        saved.set()

    def ready(line: CoordinatorClient, step: int) -> Awaitable[Group]:
        return asyncio.to_thread(line.ready, times={}, store=("127.0.0.1", 1), step=step, save=save)

    async with coordinating(given, tmp_path):
        lines = await asyncio.gather(*(asyncio.to_thread(dial, given, m) for m in range(2)))
        await asyncio.gather(*(ready(line, 0) for line in lines))
        lines[1].close()
        waiting = asyncio.ensure_future(ready(lines[0], 5))
        assert await asyncio.to_thread(saved.wait, BOUND_S)
        assert not waiting.done()
        back = await asyncio.to_thread(dial, given, 1)
        groups = await asyncio.gather(waiting, ready(back, -1))
        assert [(g.members, g.source, g.step) for g in groups] == [((0, 1), 0, 5)] * 2
        for line in (lines[0], back):
            line.ended("finished")
    (held,) = events(tmp_path, "holding")
    assert held["text"].startswith("1 host left, 2 needed (elastic.min_hosts): waiting 120 s")
    assert summary(tmp_path)["state"] == "finished"


async def test_a_run_that_nobody_comes_back_to_ends_when_it_has_waited_long_enough(tmp_path: Path) -> None:
    given = dataclasses.replace(spec(2), elastic=ElasticOptions(min_hosts=2, hold_s=0.3))
    async with coordinating(given, tmp_path):
        lines = await asyncio.gather(*(asyncio.to_thread(dial, given, m) for m in range(2)))
        await asyncio.gather(*(asyncio.to_thread(line.ready, times={}, store=("127.0.0.1", 1)) for line in lines))
        lines[1].close()
        with pytest.raises(JoinError, match="too few hosts"):
            await asyncio.to_thread(lines[0].ready, times={}, store=("127.0.0.1", 1), step=5)
        lines[0].close()
    table = summary(tmp_path)
    assert table["state"] == "failed"
    assert [host["state"] for host in table["hosts"]] == ["failed", "lost"]


async def test_a_new_coordinator_goes_on_without_those_that_do_not_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_coordinator, "REFORM_S", 0.3)
    given = spec(2)
    led_anew(given, tmp_path)
    async with coordinating(given, tmp_path):
        line = await asyncio.to_thread(dial, given, 0)
        group = await asyncio.wait_for(ready(line), BOUND_S / 2)
        assert (group.members, group.term, group.generation, group.step) == ((0,), Term(1), 4, 7)
        line.ended("finished")
    assert summary(tmp_path)["state"] == "finished"
    assert [r["cause"] for r in summary(tmp_path)["regroups"] if r["host"] == "box1"] == ["lost"]


async def test_a_new_coordinator_does_not_wait_for_a_rank_that_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no state, and joins when it has imported torch."""
    monkeypatch.setattr(base_coordinator, "REFORM_S", 1000.0)
    given = spec(2)
    led_anew(given, tmp_path)
    async with coordinating(given, tmp_path):
        there = await asyncio.to_thread(dial, given, 0)
        waiting = asyncio.ensure_future(ready(there))
        again = await asyncio.to_thread(dial, given, 1)
        again.phase("importing torch")
        group = await asyncio.wait_for(waiting, BOUND_S / 2)
        assert (group.members, group.step) == ((0,), 7)
        again.close()
        there.ended("finished")
    assert summary(tmp_path)["state"] == "finished"


async def test_a_rank_that_starts_again_under_a_new_coordinator_is_let_in_when_it_is_ready(tmp_path: Path) -> None:
    """Whatever it says of its phases until then."""
    given = spec(2)
    led_anew(given, tmp_path)
    async with coordinating(given, tmp_path):
        again = await asyncio.to_thread(dial, given, 1)
        again.phase("importing torch")
        await asyncio.to_thread(again._words.get)  # it was hung up on, and has called once more
        again.phase("loading data")
        again.phase("joining")
        waiting = asyncio.ensure_future(
            asyncio.to_thread(again.ready, times={}, store=("127.0.0.1", 1), step=-1, term=NO_TERM, generation=-1)
        )
        there = await asyncio.to_thread(dial, given, 0)
        group = await asyncio.wait_for(ready(there), BOUND_S / 4)
        if group.members != (0, 1):  # it came a moment too late for the first group
            deadline = asyncio.get_running_loop().time() + BOUND_S / 4
            while not there.boundary and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - another thread sets it
                await asyncio.sleep(0.02)
            again_there = ready(there, term=group.term, generation=group.generation)
            group = await asyncio.wait_for(again_there, BOUND_S / 4)
        assert group.members == (await asyncio.wait_for(waiting, BOUND_S / 4)).members == (0, 1)
        for line in (there, again):
            line.ended("finished")
    assert summary(tmp_path)["state"] == "finished"


async def test_a_rank_that_fails_before_it_is_let_in_by_a_new_coordinator_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_coordinator, "REFORM_S", 0.3)
    given = spec(2)
    led_anew(given, tmp_path)
    async with coordinating(given, tmp_path):
        there = await asyncio.to_thread(dial, given, 0)
        assert (await asyncio.wait_for(ready(there), BOUND_S / 2)).members == (0,)
        again = await asyncio.to_thread(dial, given, 1)
        again.phase("loading data")
        again.ended("failed")
        async with until(lambda: "could not join: its log says why" in (tmp_path / "events.jsonl").read_text()):
            pass
        there.ended("finished")
    assert summary(tmp_path)["state"] == "finished"


async def test_a_new_coordinator_waits_for_ranks_that_reach_it_only_at_the_second_try(tmp_path: Path) -> None:
    given = spec(2)
    led_anew(given, tmp_path)
    async with coordinating(given, tmp_path):
        first = await asyncio.to_thread(dial, given, 0)
        waiting = asyncio.ensure_future(ready(first))
        (await asyncio.to_thread(dial, given, 1)).close()
        second = await asyncio.to_thread(dial, given, 1)
        groups = await asyncio.gather(waiting, ready(second))
        assert [(g.members, g.term, g.generation, g.step) for g in groups] == [((0, 1), Term(1), 4, 7)] * 2
        for line in (first, second):
            line.ended("finished")
    assert summary(tmp_path)["state"] == "finished"

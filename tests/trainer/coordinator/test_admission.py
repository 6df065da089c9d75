"""Hosts that come to a run after its start and hosts that are taken out of it, as its coordinator sees them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from motley.trainer.contract.generation import Group
from motley.trainer.contract.run_changes import Lead, Roll
from motley.trainer.contract.spec import Member, Spec
from motley.trainer.contract.term import FIRST, Term
from motley.trainer.host.paths import write_json
from motley.trainer.host.run_members import admit, drop, keep, roll_of
from motley.trainer.rank.coordinator_client import CoordinatorClient
from motley.trainer.rank.coordinator_connection import JoinError, RunOver
from tests.trainer.coordinating import all_in_a_group, coordinating, dial, events, refused, spec, summary, until

NEW = Member(member=0, host="box3", local_rank=0, device="cpu", a_ms=3.0, c_ms=0.1)


def ready(line: CoordinatorClient, step: int, **said: Any) -> Awaitable[Group]:
    return asyncio.to_thread(line.ready, times={}, store=("127.0.0.1", 1), step=step, **said)


def let_in(given: Spec, folder: Path, host: str = "box3") -> None:
    assert keep(folder, admit(given, roll_of(folder), host, [NEW], term=FIRST))


def take_out(given: Spec, folder: Path, host: str) -> None:
    assert keep(folder, drop(given, roll_of(folder), host, term=FIRST, leader="box0"))


async def come(
    given: Spec, folder: Path, lines: list[CoordinatorClient], step: int
) -> tuple[CoordinatorClient, list[Group]]:
    """The rank of box3 joins the others at the end of a step."""
    async with until(lambda: bool((folder / "events.jsonl").exists() and events(folder, "admitted"))):
        line = await asyncio.to_thread(dial, given, 3)
    coming = asyncio.ensure_future(ready(line, -1))
    async with until(lambda: lines[0].boundary):
        groups = await asyncio.gather(*(ready(other, step) for other in lines), coming)
    lines[0].boundary = False
    return line, groups


async def test_a_new_host_joins_at_the_end_of_a_step_and_all_learn_who_it_is(tmp_path: Path) -> None:
    given = spec(3)
    async with coordinating(given, tmp_path):
        lines = await all_in_a_group(given)
        let_in(given, tmp_path)
        new, groups = await come(given, tmp_path, lines, step=10)
        assert [(g.members, g.rank, g.source, g.step) for g in groups] == [
            ((0, 1, 2, 3), rank, 0, 10) for rank in range(4)
        ]
        (member,) = groups[1].roll.members(given.members)[3:]
        assert member == dataclasses.replace(NEW, member=3)
        lines[0].resumed(1, 0.4)
        lines[0].report(steps=[[11, 96, 50.0, 0.7]], batches=[[32, 16, 16, 32]], epoch=1)
        for line in (*lines, new):
            line.ended("finished")
    table = summary(tmp_path)
    assert table["state"] == "finished"
    assert table["regroups"] == [
        {"cause": "joined", "host": "box3", "step_before": 10, "step_after": 10, "pause_s": 0.4}
    ]
    assert [(h["name"], h["ranks"], h["share"], h["state"]) for h in table["hosts"]][3] == (
        "box3", 1, 0.3333, "finished",
    )  # fmt: skip


async def test_a_new_host_that_never_comes_or_fails_harms_nobody(tmp_path: Path) -> None:
    given = spec(3)
    async with coordinating(given, tmp_path):
        lines = await all_in_a_group(given)
        let_in(given, tmp_path)
        async with until(lambda: bool(events(tmp_path, "admitted"))):
            new = await asyncio.to_thread(dial, given, 3)
        new.ended("failed")
        async with until(lambda: any("could not join" in event["text"] for event in events(tmp_path, "note"))):
            assert not lines[0].boundary
        for line in lines:
            line.ended("finished")
    table = summary(tmp_path)
    assert table["state"] == "finished"
    assert {host["name"]: host["state"] for host in table["hosts"]}["box3"] == "failed"


async def test_a_host_that_is_taken_out_leaves_and_the_others_go_on(tmp_path: Path) -> None:
    given = spec(3)
    async with coordinating(given, tmp_path):
        lines = await all_in_a_group(given)
        take_out(given, tmp_path, "box2")
        leaving = ready(lines[2], 5)
        with pytest.raises(RunOver, match="this host was taken out of the run") as over:
            await leaving
        assert over.value.state == "stopped"
        groups = await asyncio.gather(ready(lines[0], 5), ready(lines[1], 5))
        assert [g.members for g in groups] == [(0, 1)] * 2
        assert groups[0].roll.dropped == ("box2",)
        again = await asyncio.to_thread(dial, given, 2)  # it does not know yet, or its host was away meanwhile
        with pytest.raises(JoinError, match="taken out"):
            await ready(again, 5)
        assert not lines[0].boundary
        lines[0].resumed(1, 0.3)
        for line in (*lines[:2],):
            line.ended("finished")
        lines[2].close()
        again.close()
    table = summary(tmp_path)
    assert table["state"] == "finished"
    assert table["regroups"] == [
        {"cause": "dropped", "host": "box2", "step_before": 5, "step_after": 5, "pause_s": 0.3}
    ]
    assert {h["name"]: h["state"] for h in table["hosts"]} == {
        "box0": "finished", "box1": "finished", "box2": "dropped",
    }  # fmt: skip


async def test_ranks_of_a_host_that_is_taken_out_may_end_before_the_word_comes(tmp_path: Path) -> None:
    """Its supervisor is told to stop as soon as the roll is changed: that is no stop of the run."""
    given = spec(3)
    async with coordinating(given, tmp_path):
        lines = await all_in_a_group(given)
        take_out(given, tmp_path, "box2")
        lines[2].ended("stopped")
        groups = await asyncio.gather(ready(lines[0], 5), ready(lines[1], 5))
        assert [g.members for g in groups] == [(0, 1)] * 2
        for line in lines[:2]:
            line.ended("finished")
    assert summary(tmp_path)["state"] == "finished"
    assert summary(tmp_path)["regroups"][0]["cause"] == "dropped"


async def test_a_host_that_was_taken_out_is_let_in_again(tmp_path: Path) -> None:
    given = spec(3)
    async with coordinating(given, tmp_path):
        lines = await all_in_a_group(given)
        take_out(given, tmp_path, "box2")
        lines[2].ended("stopped")
        await asyncio.gather(ready(lines[0], 5), ready(lines[1], 5))
        let_in(given, tmp_path, "box2")
        async with until(lambda: bool(events(tmp_path, "admitted"))):
            back = await asyncio.to_thread(dial, given, 2)
        coming = asyncio.ensure_future(ready(back, -1))
        async with until(lambda: lines[0].boundary):
            groups = await asyncio.gather(ready(lines[0], 9), ready(lines[1], 9), coming)
        assert [g.members for g in groups] == [(0, 1, 2)] * 3
        for line in (*lines[:2], back):
            line.ended("finished")
    assert [r["cause"] for r in summary(tmp_path)["regroups"]] == ["dropped", "joined"]
    assert {h["state"] for h in summary(tmp_path)["hosts"]} == {"finished"}


async def test_a_coordinator_that_takes_over_knows_who_came_and_who_left(tmp_path: Path) -> None:
    given = spec(3)
    known = drop(given, admit(given, Roll(), "box3", [NEW], term=FIRST), "box2", term=FIRST, leader="box0")
    keep(tmp_path, known)  # its rank had it with the last group
    lead = Lead(term=Term(1), leader="box1", address="127.0.0.1", port=given.port, hosts=("box1", "box3"))
    write_json(tmp_path / "lead.json", dataclasses.asdict(lead))
    async with coordinating(dataclasses.replace(given, host="box1"), tmp_path):
        first, new = [await asyncio.to_thread(dial, given, member) for member in (1, 3)]
        said: dict[str, Any] = {"term": FIRST, "generation": 4}
        groups = await asyncio.gather(ready(first, 7, **said), ready(new, 7, **said))
        assert [(g.members, g.generation, g.roll) for g in groups] == [((1, 3), 5, known)] * 2
        for line in (first, new):
            line.ended("finished")
    causes = {r["host"]: r["cause"] for r in summary(tmp_path)["regroups"]}
    assert causes == {"box0": "lost", "box2": "dropped"}


async def test_a_number_belongs_to_one_host(tmp_path: Path) -> None:
    given = spec(2)
    stray = dataclasses.replace(given, host="box7")
    async with coordinating(given, tmp_path):
        lines = [await asyncio.to_thread(dial, given, m) for m in range(2)]
        with pytest.raises(JoinError, match="refused"):
            await asyncio.to_thread(refused, stray, 1)
        await asyncio.gather(*(ready(line, 0) for line in lines))
        for line in lines:
            line.ended("finished")
    assert any("rank 1 on box7 does not belong to this run" in event["text"] for event in events(tmp_path, "note"))

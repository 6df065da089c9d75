"""A script's run whose scripts call as sessions: who is the member from then on, who is waited for, how it ends."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from motley.trainer.contract.generation import Group
from motley.trainer.contract.run_changes import Lead
from motley.trainer.contract.script import Script
from motley.trainer.contract.spec import Member, Spec
from motley.trainer.contract.term import FIRST, Term
from motley.trainer.coordinator import base_coordinator, first_group
from motley.trainer.coordinator.script_coordinator import ScriptCoordinator
from motley.trainer.coordinator.session_coordinator import SessionCoordinator
from motley.trainer.host.run_members import FILE, admit, roll_of
from motley.trainer.rank.coordinator_client import CoordinatorClient
from motley.trainer.rank.coordinator_connection import JoinError
from tests.trainer.coordinating import BOUND_S, coordinating, dial, events, spec, summary, until


class Parent:
    """What starts a script, as the coordinator hears it."""

    def __init__(self, given: Spec, member: int) -> None:
        self.line = dial(given, member)
        self.dismissed, self.over = threading.Event(), threading.Event()
        self.state = ""
        self.line.dismissed = self.dismissed.set
        self.line.over = self._over

    def _over(self, _text: str, state: str) -> None:
        self.state = state
        self.over.set()

    def ready(self) -> Group:
        group = self.line.ready(times={}, store=("127.0.0.1", 1))
        self.line.joined()
        return group


def scripted(members: int, **options: Any) -> Spec:
    given = spec(members, **options)
    script = Script(path="train.py", args=(), tree="p", port=given.port + 1)
    return dataclasses.replace(given, script=script, options=dataclasses.replace(given.options, script="train.py"))


async def started(given: Spec) -> list[Parent]:
    """Parents that have started their scripts."""
    parents = [await asyncio.to_thread(Parent, given, m.member) for m in given.members]
    await asyncio.gather(*(asyncio.to_thread(parent.ready) for parent in parents))
    return parents


async def session(given: Spec, member: int) -> CoordinatorClient:
    return await asyncio.to_thread(dial, given, member, session=True)


def ready(line: CoordinatorClient, step: int = 0, **said: Any) -> Awaitable[Group]:
    return asyncio.to_thread(line.ready, times={"import_s": 1.5}, store=("127.0.0.1", 7), step=step, **said)


async def trains(given: Spec) -> tuple[list[Parent], list[CoordinatorClient]]:
    parents = await started(given)
    lines = [await session(given, m) for m in range(len(parents))]
    await asyncio.gather(*(ready(line) for line in lines))
    for line in lines:
        line.joined()
    return parents, lines


async def heard(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, BOUND_S)


async def test_sessions_are_the_members_and_what_started_them_is_told_to_hang_up(tmp_path: Path) -> None:
    given = scripted(2)
    async with coordinating(given, tmp_path, ScriptCoordinator):
        parents, lines = await trains(given)
        for parent in parents:
            await heard(parent.dismissed)
        lines[0].report(steps=[[1, 64, 50.0, 0.7]], batches=[[32, 32]], epoch=1)
        for line in lines:
            line.ended("finished")
    table = summary(tmp_path)
    assert (table["state"], table["steps"], table["final_loss"]) == ("finished", 1, 0.7)
    assert {host["state"] for host in table["hosts"]} == {"finished"}
    assert table["phases"]["import_s"] == 1.5
    (told,) = events(tmp_path, "session")
    assert told["data"] == {"member": 0}
    assert [event["text"] for event in events(tmp_path, "group")] == [
        "the script starts: 2 ranks on box0, box1", "all 2 ranks are ready",
    ]  # fmt: skip
    assert not any(parent.over.is_set() for parent in parents)


async def test_a_lost_session_frees_the_others_and_they_go_on_in_their_processes(tmp_path: Path) -> None:
    given = scripted(3)
    freed = threading.Event()
    async with coordinating(given, tmp_path, ScriptCoordinator):
        _, lines = await trains(given)
        assert lines[0].guard(0, freed.set)
        lines[1].close()
        await heard(freed)
        groups = await asyncio.gather(ready(lines[0], 41), ready(lines[2], 42))
        assert [(g.generation, g.members, g.source, g.step) for g in groups] == [(1, (0, 2), 1, 42)] * 2
        lines[0].resumed(1, 1.5)
        for number in (0, 2):
            lines[number].ended("finished")
    table = summary(tmp_path)
    assert table["regroups"] == [{"cause": "lost", "host": "box1", "step_before": 42, "step_after": 42, "pause_s": 1.5}]
    assert events(tmp_path, "restarted") == []


async def test_who_starts_a_script_again_is_told_so_at_once_and_its_session_joins(tmp_path: Path) -> None:
    given = scripted(2)
    async with coordinating(given, tmp_path, ScriptCoordinator):
        _, lines = await trains(given)
        lines[1].close()
        assert (await ready(lines[0], 5)).members == (0,)
        again = await asyncio.to_thread(Parent, given, 1)
        told = await asyncio.to_thread(again.ready)
        assert (told.anew, told.members, told.rank, told.store[1]) == (True, (0, 1), 1, given.port + 1)
        back = await session(given, 1)
        await heard(again.dismissed)
        joining = asyncio.ensure_future(ready(back, -1))
        async with until(lambda: lines[0].boundary):
            groups = await asyncio.gather(ready(lines[0], 8), joining)
        assert [(g.members, g.source, g.step) for g in groups] == [((0, 1), 0, 8)] * 2
        for line in (lines[0], back):
            line.ended("finished")
    assert [r["cause"] for r in summary(tmp_path)["regroups"]] == ["lost", "joined"]


async def test_a_host_that_is_let_in_starts_its_script_and_joins(tmp_path: Path) -> None:
    given = scripted(1)
    async with coordinating(given, tmp_path, ScriptCoordinator):
        _, lines = await trains(given)
        new = Member(member=0, host="box1", local_rank=0, device="cpu")
        roll = admit(given, roll_of(tmp_path), "box1", [new], term=FIRST)
        (tmp_path / FILE).write_text(json.dumps(roll.to_table()))
        async with until(lambda: events(tmp_path, "admitted") != []):
            parent = await asyncio.to_thread(Parent, given, 1)
        told = await asyncio.to_thread(parent.ready)
        assert (told.anew, told.roll.added[0].host) == (True, "box1")
        lines.append(await session(given, 1))
        joining = asyncio.ensure_future(ready(lines[1], -1))
        async with until(lambda: lines[0].boundary):
            groups = await asyncio.gather(ready(lines[0], 3), joining)
        assert [g.members for g in groups] == [(0, 1)] * 2
        for line in lines:
            line.ended("finished")
    assert [(host["name"], host["state"]) for host in summary(tmp_path)["hosts"]] == [
        ("box0", "finished"), ("box1", "finished"),
    ]  # fmt: skip


async def test_a_script_that_never_calls_is_named_and_waited_for_no_longer_than_join_timeout(tmp_path: Path) -> None:
    given = scripted(2, join_timeout_s=0.5)
    async with coordinating(given, tmp_path, ScriptCoordinator):
        parents = await started(given)
        line = await session(given, 0)
        with pytest.raises(JoinError, match=r"rank 1 on box1 \(running its script\): no progress for 0 s"):
            await ready(line)
        line.ended("failed")
        await heard(parents[1].over)
        assert parents[1].state == "failed"
    assert summary(tmp_path)["state"] == "failed"
    assert "rank 1 on box1 (running its script)" in summary(tmp_path)["cause"]


@pytest.mark.parametrize(("code", "said"), [(1, "exit code 1"), (0, "exit code 0")])
@pytest.mark.parametrize("before", [True, False])
async def test_a_script_that_ends_before_its_session_ends_the_wait(
    tmp_path: Path, code: int, said: str, before: bool
) -> None:
    """Whether it ended before the first session of the run, or after."""
    given = scripted(2)
    async with coordinating(given, tmp_path, ScriptCoordinator):
        parents = await started(given)
        if before:
            parents[1].line.exited(0, code)
        line = await session(given, 0)
        if not before:
            parents[1].line.exited(0, code)
        with pytest.raises(JoinError, match=rf"rank 1 on box1 \({said}\): its script ended before it called"):
            await asyncio.wait_for(ready(line), BOUND_S)
        line.ended("failed")
    assert summary(tmp_path)["state"] == "failed"


async def test_a_script_that_is_killed_before_its_session_has_the_time_to_be_started_again(tmp_path: Path) -> None:
    given = scripted(2)
    async with coordinating(given, tmp_path, ScriptCoordinator):
        parents = await started(given)
        line = await session(given, 0)
        parents[1].line.exited(0, -9)
        await heard(parents[1].dismissed)
        again = await asyncio.to_thread(Parent, given, 1)
        assert not (await asyncio.to_thread(again.ready)).anew  # nobody has trained yet
        lines = [line, await session(given, 1)]
        assert [g.world_size for g in await asyncio.gather(*(ready(one) for one in lines))] == [2, 2]
        for one in lines:
            one.ended("finished")
    assert summary(tmp_path)["state"] == "finished"


async def test_one_that_is_not_started_again_is_waited_for_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_group, "RECALL_S", 0.1)
    given = scripted(2)
    async with coordinating(given, tmp_path, ScriptCoordinator):
        parents = await started(given)
        line = await session(given, 0)
        parents[1].line.close()
        with pytest.raises(JoinError, match="rank 1 on box1 ended before the group was formed"):
            await asyncio.wait_for(ready(line), BOUND_S)
        line.ended("failed")


async def test_a_session_of_a_script_that_is_being_ended_is_not_taken(tmp_path: Path) -> None:
    """Its start is over: it would make a run of sessions out of one that starts anew."""
    given = scripted(2)
    async with coordinating(given, tmp_path, ScriptCoordinator):
        parents = await started(given)
        parents[1].line.close()
        async with until(lambda: events(tmp_path, "lost") != []):
            on_host = dataclasses.replace(given, host="box0")
            with pytest.raises(JoinError, match="no coordinator"):
                await asyncio.to_thread(CoordinatorClient.dial, on_host, member=0, deadline_s=0.3, session=True)
        (tmp_path / "stop.json").write_text("{}")
        parents[0].line.close()
    assert events(tmp_path, "session") == []


async def test_a_new_coordinator_of_a_session_s_run_goes_on_with_the_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_coordinator, "REFORM_S", 0.3)
    given = scripted(3)
    lead = Lead(term=Term(1), leader="box0", address="127.0.0.1", port=given.port, hosts=("box0", "box1", "box2"))
    (tmp_path / "lead.json").write_text(lead.to_json())
    async with coordinating(given, tmp_path, SessionCoordinator):
        lines = [await session(given, m) for m in range(2)]
        parent = await asyncio.to_thread(Parent, given, 2)  # its host was away: it starts the script as a newcomer
        assert (await asyncio.to_thread(parent.ready)).anew
        groups = await asyncio.gather(*(ready(one, 7, term=FIRST, generation=3) for one in lines))
        assert [(g.members, g.generation, g.step, g.term) for g in groups] == [((0, 1), 4, 7, Term(1))] * 2
        for one in lines:
            one.ended("finished")
        parent.line.close()
    assert summary(tmp_path)["state"] == "finished"


async def test_a_stop_before_the_sessions_ends_all(tmp_path: Path) -> None:
    given = scripted(2)
    async with coordinating(given, tmp_path, ScriptCoordinator):
        parents = await started(given)
        line = await session(given, 0)
        (tmp_path / "stop.json").write_text("{}")
        parents[1].line.ended("stopped")
        line.ended("stopped")
    assert summary(tmp_path)["state"] == "stopped"


async def test_a_stranger_that_says_it_is_a_session_changes_nothing(tmp_path: Path) -> None:
    given = scripted(1)
    false = dataclasses.replace(given, token="00" * 32)
    async with coordinating(given, tmp_path, ScriptCoordinator):
        parents = await started(given)
        on_host = dataclasses.replace(false, host="box0")
        with pytest.raises(JoinError):
            await asyncio.to_thread(CoordinatorClient.dial, on_host, member=0, deadline_s=0.2, session=True)
        parents[0].line.exited(0, 0)
        await heard(parents[0].over)
        assert parents[0].state == "finished"
    assert events(tmp_path, "session") == []

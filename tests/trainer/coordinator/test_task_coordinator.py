"""The coordinator and the ranks' side of it, over real sockets: who gets in, who is waited for, how it ends."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections.abc import Awaitable
from pathlib import Path

import pytest

from motley.trainer.contract.generation import Group
from motley.trainer.coordinator import first_group
from motley.trainer.rank.coordinator_connection import JoinError, RunOver
from motley.trainer.supervisor.coordinator_socket import listen
from tests.trainer.coordinating import (
    BOUND_S,
    all_in_a_group,
    coordinating,
    dial,
    events,
    ready,
    refused,
    spec,
    summary,
    until,
    whole_life,
)


async def test_all_members_get_one_group_and_the_end_is_summed_up(tmp_path: Path) -> None:
    given = spec(3)
    async with coordinating(given, tmp_path):
        groups = await asyncio.gather(*(asyncio.to_thread(whole_life, given, m) for m in range(3)))
    assert [(g.rank, g.world_size, g.store) for g in groups] == [(m, 3, ("127.0.0.1", 4711)) for m in range(3)]
    table = summary(tmp_path)
    assert (table["state"], table["steps"], table["final_loss"]) == ("finished", 1, 0.7)
    assert table["phases"]["import_s"] == 3.0
    assert {host["state"] for host in table["hosts"]} == {"finished"}


async def test_a_caller_without_the_token_gets_nothing_and_does_no_harm(tmp_path: Path) -> None:
    given = spec(1)
    stranger = dataclasses.replace(given, token="00" * 32)
    async with coordinating(given, tmp_path):
        with pytest.raises(JoinError, match="refused"):
            await asyncio.to_thread(refused, stranger, 0)
        await asyncio.to_thread(whole_life, given, 0)
    assert summary(tmp_path)["state"] == "finished"
    assert any("without the run's token" in event["text"] for event in events(tmp_path, "note"))


async def test_a_coordinator_of_another_run_is_refused() -> None:
    """It lets a rank in only to be found out: it can't prove that it holds the token."""
    given = spec(1)
    false = socket.create_server(("127.0.0.1", given.port))

    def pretend() -> None:
        connection, _ = false.accept()
        with connection, connection.makefile("rwb") as file:
            file.write(b'{"nonce": "00"}\n')
            file.flush()
            file.readline()
            file.write(b'{"proof": "made up"}\n')
            file.flush()
            file.readline()

    with false:
        served = asyncio.create_task(asyncio.to_thread(pretend))
        with pytest.raises(JoinError, match="not this run's coordinator"):
            await asyncio.to_thread(dial, given, 0)
        await served


async def test_giving_up_names_the_missing_and_their_phase(tmp_path: Path) -> None:
    given = spec(2, join_timeout_s=0.5)
    async with coordinating(given, tmp_path):
        line = await asyncio.to_thread(dial, given, 0)
        with pytest.raises(JoinError, match=r"rank 1 on box1 \(connecting\)"):
            await asyncio.to_thread(lambda: line.ready(times={}, store=("127.0.0.1", 1)))
        line.ended("failed")
    (event,) = events(tmp_path, "gave_up")
    assert event["data"]["missing"] == [{"member": 1, "host": "box1", "phase": "connecting"}]
    assert summary(tmp_path)["state"] == "failed"
    assert "rank 1 on box1" in summary(tmp_path)["cause"]


async def test_a_rank_that_dies_while_others_wait_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_group, "RECALL_S", 0.1)
    given = spec(2, join_timeout_s=60.0)
    async with coordinating(given, tmp_path):
        waiting = await asyncio.to_thread(dial, given, 0)
        dying = await asyncio.to_thread(dial, given, 1)
        dying.phase("importing torch")
        ready = asyncio.create_task(asyncio.to_thread(lambda: waiting.ready(times={}, store=("127.0.0.1", 1))))
        dying.close()
        with pytest.raises(JoinError, match="rank 1 on box1 ended before the group was formed"):
            await asyncio.wait_for(ready, BOUND_S)
        waiting.ended("failed")
    assert summary(tmp_path)["state"] == "failed"


async def test_a_rank_whose_first_calls_break_off_calls_again_and_is_waited_for(tmp_path: Path) -> None:
    """On a busy machine: once without a word, as one that did not wait for the answer, and once when it was ready."""
    given = spec(3, join_timeout_s=60.0)

    def only_rank_2_is_missing() -> bool:
        return events(tmp_path, "waiting")[-1:] != [] and events(tmp_path, "waiting")[-1]["data"]["missing"] == [
            {"member": 2, "host": "box2", "phase": "connecting"}
        ]

    async with coordinating(given, tmp_path):
        first = asyncio.create_task(asyncio.to_thread(whole_life, given, 0))
        (await asyncio.to_thread(dial, given, 1)).close()
        line = await asyncio.to_thread(dial, given, 1)
        second = asyncio.create_task(asyncio.to_thread(lambda: line.ready(times={})))
        async with until(only_rank_2_is_missing):
            line._call.hang_up()  # as when the coordinator was not heard for long: it calls again by itself
        last = asyncio.create_task(asyncio.to_thread(whole_life, given, 2))
        assert (await asyncio.wait_for(second, BOUND_S)).world_size == 3
        line.joined()
        line.ended("finished")
        assert [(await task).world_size for task in (first, last)] == [3, 3]
    assert summary(tmp_path)["state"] == "finished"
    assert events(tmp_path, "gave_up") == []


async def test_a_lost_rank_frees_the_others_and_they_go_on_from_the_newest_step(tmp_path: Path) -> None:
    """Their main threads may hang in a collective: the word reaches them by the listening thread."""
    given = spec(3)
    freed: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    async with coordinating(given, tmp_path):
        lines = await all_in_a_group(given)
        for number in (0, 2):
            assert lines[number].guard(0, lambda n=number: loop.call_soon_threadsafe(freed.put_nowait, n))  # type: ignore[misc]
        lines[1].close()
        assert {await asyncio.wait_for(freed.get(), BOUND_S) for _ in range(2)} == {0, 2}
        groups = await asyncio.gather(
            asyncio.to_thread(lines[0].ready, times={}, store=("127.0.0.1", 7), step=41),
            asyncio.to_thread(lines[2].ready, times={}, store=("127.0.0.1", 8), step=42),
        )
        assert [(g.generation, g.rank, g.members, g.source, g.store) for g in groups] == [
            (1, 0, (0, 2), 1, ("127.0.0.1", 7)),
            (1, 1, (0, 2), 1, ("127.0.0.1", 7)),
        ]
        lines[0].resumed(1, 2.5)
        for number in (0, 2):
            lines[number].ended("finished")
    table = summary(tmp_path)
    assert table["state"] == "finished"
    assert table["regroups"] == [{"cause": "lost", "host": "box1", "step_before": 42, "step_after": 42, "pause_s": 2.5}]
    assert {host["name"]: host["state"] for host in table["hosts"]} == {
        "box0": "finished", "box1": "lost", "box2": "finished",
    }  # fmt: skip
    (lost,) = events(tmp_path, "lost")
    assert "rank 1 on box1 was lost" in lost["text"]


async def test_a_member_that_is_silent_is_taken_out_of_the_group(tmp_path: Path) -> None:
    given = spec(3, lost_after_s=0.6)
    freed: asyncio.Queue[None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    async with coordinating(given, tmp_path):
        lines = await all_in_a_group(given)
        lines[0].guard(0, lambda: loop.call_soon_threadsafe(freed.put_nowait, None))
        lines[1]._closed.set()  # its threads stand still, its connection stays
        await asyncio.wait_for(freed.get(), BOUND_S)
        for number in (0, 2):
            lines[number].ended("stopped")
        lines[1].close()
    assert "rank 1 on box1" in events(tmp_path, "lost")[0]["text"]


async def test_a_rank_whose_line_was_cut_is_freed_calls_again_and_joins_at_the_end_of_a_step(tmp_path: Path) -> None:
    given = spec(3)
    freed: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def ready(number: int, step: int) -> Awaitable[Group]:
        return asyncio.to_thread(lines[number].ready, times={}, store=("127.0.0.1", 1), step=step)

    async with coordinating(given, tmp_path):
        lines = await all_in_a_group(given)
        for number, line in enumerate(lines):
            line.guard(0, lambda n=number: loop.call_soon_threadsafe(freed.put_nowait, n))  # type: ignore[misc]
        lines[2]._call._socket.shutdown(socket.SHUT_RDWR)
        heard: set[int] = set()
        while heard != {0, 1, 2}:
            heard.add(await asyncio.wait_for(freed.get(), BOUND_S))
        assert [g.members for g in await asyncio.gather(ready(0, step=5), ready(1, step=5))] == [(0, 1)] * 2
        back = asyncio.ensure_future(ready(2, step=5))
        async with until(lambda: lines[0].boundary):
            groups = await asyncio.gather(ready(0, step=10), ready(1, step=10), back)
        assert [(g.members, g.rank, g.source) for g in groups] == [((0, 1, 2), rank, 0) for rank in range(3)]
        for line in lines:
            line.ended("finished")
    table = summary(tmp_path)
    assert table["state"] == "finished"
    assert [(r["cause"], r["host"], r["step_after"]) for r in table["regroups"]] == [
        ("lost", "box2", 5), ("joined", "box2", 10),
    ]  # fmt: skip


async def test_once_a_rank_has_failed_those_left_form_no_group(tmp_path: Path) -> None:
    """They would train on, and could even finish, in the moment that they have for their last word."""
    given = spec(4)
    async with coordinating(given, tmp_path):
        lines = await all_in_a_group(given)
        lines[1].ended("failed")
        lines[3].close()  # lost: the others are to form the next group
        for end in await asyncio.gather(
            ready(lines[0], generation=0), ready(lines[2], generation=0), return_exceptions=True
        ):
            assert isinstance(end, RunOver)
        lines[0].ended("failed")
    assert summary(tmp_path)["state"] == "failed"
    assert len(events(tmp_path, "group")) == 1


async def test_stopped_ranks_make_a_stopped_run(tmp_path: Path) -> None:
    given = spec(2)
    async with coordinating(given, tmp_path):
        await asyncio.gather(*(asyncio.to_thread(whole_life, given, m, "stopped") for m in range(2)))
    assert summary(tmp_path)["state"] == "stopped"


def test_a_port_in_use_is_said_with_its_remedy() -> None:
    given = spec(1)
    address = given.leader_address, given.port
    with listen(*address), pytest.raises(OSError, match=r"is another run at work there\?.*cluster.port"):
        listen(*address)

"""The coordinator and the ranks' side of it, over real sockets: who gets in, who is waited for, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_pair
from trainer import service
from trainer.call import JoinError
from trainer.coordinator import Coordinator
from trainer.listen import listen
from trainer.membership import Group, Membership
from trainer.spec import BalanceOptions, DataOptions, ElasticOptions, Lead, Member, RunOptions, Spec

TOKEN = "5a" * 32
BOUND_S = 20.0


def spec(members: int, *, lost_after_s: float = 1.5, **options: Any) -> Spec:
    elastic = ElasticOptions(lost_after_s=lost_after_s)
    return Spec(
        run="night", host="box0", token=TOKEN, leader="box0", leader_address="127.0.0.1", port=free_pair(),
        members=tuple(Member(member=i, host=f"box{i}", local_rank=0, device="cpu") for i in range(members)),
        options=RunOptions(**options), balance=BalanceOptions(), elastic=elastic, data=DataOptions(), env={},
    )  # fmt: skip


@contextlib.asynccontextmanager
async def coordinating(given: Spec, folder: Path) -> AsyncIterator[asyncio.Task[None]]:
    with listen(given.leader_address, given.port) as listener:
        listener.setblocking(False)
        task = asyncio.create_task(Coordinator(given, folder, goodbye_s=0.2).run(listener))
        try:
            yield task
            await asyncio.wait_for(task, BOUND_S)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def dial(given: Spec, member: int) -> Membership:
    on_host = dataclasses.replace(given, host=f"box{member}")
    return Membership.dial(on_host, member=member, deadline_s=5.0)


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines() if line]
    return [line for line in lines if line["kind"] == kind]


def summary(folder: Path) -> dict[str, Any]:
    table: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return table


def whole_life(given: Spec, member: int, end: str = "finished") -> Group:
    line = dial(given, member)
    line.phase("importing torch")
    group = line.ready(times={"import_s": 1.0 + member}, store=("127.0.0.1", 4711) if member == 0 else None)
    line.joined()
    if member == 0:
        line.report(steps=[[1, 96, 50.0, 0.7]], batches=[[32, 32, 32]], epoch=1)
    line.ended(end)
    return group


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
        with pytest.raises(JoinError):
            await asyncio.to_thread(dial, stranger, 0)
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


async def test_a_rank_that_dies_while_others_wait_is_named_at_once(tmp_path: Path) -> None:
    given = spec(2, join_timeout_s=60.0)
    async with coordinating(given, tmp_path):
        waiting = await asyncio.to_thread(dial, given, 0)
        dying = await asyncio.to_thread(dial, given, 1)
        dying.phase("importing torch")
        ready = asyncio.create_task(asyncio.to_thread(lambda: waiting.ready(times={}, store=("127.0.0.1", 1))))
        dying.close()
        with pytest.raises(JoinError, match="rank 1 on box1"):
            await asyncio.wait_for(ready, 5.0)
        waiting.ended("failed")
    assert summary(tmp_path)["state"] == "failed"


async def three_in_a_group(given: Spec) -> list[Membership]:
    lines = [await asyncio.to_thread(dial, given, m) for m in range(3)]
    await asyncio.gather(*(asyncio.to_thread(line.ready, times={}, store=("127.0.0.1", 1)) for line in lines))
    for line in lines:
        line.joined()
    return lines


async def test_a_lost_rank_frees_the_others_and_they_go_on_from_the_newest_step(tmp_path: Path) -> None:
    """Their main threads may hang in a collective: the word reaches them by the listening thread."""
    given = spec(3)
    freed: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    async with coordinating(given, tmp_path):
        lines = await three_in_a_group(given)
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
        lines = await three_in_a_group(given)
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
        lines = await three_in_a_group(given)
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


@contextlib.asynccontextmanager
async def until(condition: Callable[[], bool]) -> AsyncIterator[None]:
    """What another thread brings about."""
    deadline = asyncio.get_running_loop().time() + BOUND_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
    yield


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


async def test_below_min_hosts_the_state_is_saved_and_the_run_waits_for_others(tmp_path: Path) -> None:
    given = dataclasses.replace(spec(2), elastic=ElasticOptions(min_hosts=2))
    saved = threading.Event()

    def save(cut_off: bool) -> None:
        assert not cut_off
        saved.set()

    def ready(line: Membership, step: int) -> Awaitable[Group]:
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


def led_anew(given: Spec, folder: Path) -> None:
    """The coordinator that is started now is the second of a run of box0 and box1."""
    lead = Lead(term=1, leader="box0", address="127.0.0.1", port=given.port, hosts=("box0", "box1"))
    (folder / "lead.json").write_text(lead.to_json())


def ready(line: Membership, *, term: int = 0, generation: int = 3) -> Awaitable[Group]:
    said: dict[str, Any] = {"step": 7, "term": term, "generation": generation}
    return asyncio.to_thread(line.ready, times={}, store=("127.0.0.1", 1), **said)


async def test_a_new_coordinator_goes_on_without_those_that_do_not_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "REFORM_S", 0.3)
    given = spec(2)
    led_anew(given, tmp_path)
    async with coordinating(given, tmp_path):
        line = await asyncio.to_thread(dial, given, 0)
        group = await asyncio.wait_for(ready(line), BOUND_S / 2)
        assert (group.members, group.term, group.generation, group.step) == ((0,), 1, 4, 7)
        line.ended("finished")
    assert summary(tmp_path)["state"] == "finished"
    assert [r["cause"] for r in summary(tmp_path)["regroups"] if r["host"] == "box1"] == ["lost"]


async def test_a_new_coordinator_does_not_wait_for_a_rank_that_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no state, and joins when it has imported torch."""
    monkeypatch.setattr(service, "REFORM_S", 1000.0)
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
            asyncio.to_thread(again.ready, times={}, store=("127.0.0.1", 1), step=-1, term=-1, generation=-1)
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
    monkeypatch.setattr(service, "REFORM_S", 0.3)
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
        assert [(g.members, g.term, g.generation, g.step) for g in groups] == [((0, 1), 1, 4, 7)] * 2
        for line in (first, second):
            line.ended("finished")
    assert summary(tmp_path)["state"] == "finished"

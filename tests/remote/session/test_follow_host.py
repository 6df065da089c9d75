"""Following a host: what freezes, breaks or can't be read is told, and following goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from motley.remote import end_tasks
from motley.remote.end_tasks import end
from motley.remote.experiment.folder import Experiment
from motley.remote.feed import FeedRecord, Link
from motley.remote.hosts.pool import Hosts
from motley.remote.rpc.verbs import Verbs
from motley.remote.session import follow_host
from motley.remote.session.follow_host import HostFollower
from motley.trainer.contract.wire import Chunk, Event, Sample, encode
from motley.trainer.host.paths import read_json, write_json
from tests.remote.stage import FOREVER, Seen, Stage


def pids_of(stage: Stage, verb: str, host: str) -> list[int]:
    """Processes of a verb of the trainer on a host."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if verb.encode() in words and host.encode() in words:
                home = f"HOME={stage.run_folder('night', host).parents[3]}".encode()
                if home in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


async def test_a_host_that_freezes_is_told_and_read_on_where_it_stood(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_host, "STALE_S", 1.3)  # a beat comes every second
    session = stage.session("night", seen := Seen(), stage.cluster())
    await session.launch()
    await seen.further(10)
    (frozen,) = pids_of(stage, "attach", "box1")
    os.kill(frozen, signal.SIGSTOP)
    await seen.until(lambda record: record == Link(host="box1", up=False, text="no sign of life"))
    await seen.further(10)
    await session.stop("enough")
    await session.close()
    assert stage.metrics("night") == seen.sequences()
    assert all(numbers == list(range(len(numbers))) for numbers in seen.sequences().values())


async def test_a_run_whose_only_host_lost_its_supervisor_is_lost(stage: Stage) -> None:
    session = stage.session("night", seen := Seen(), stage.cluster(hosts={"box0": ""}))
    await session.launch()
    await seen.until(lambda record: isinstance(record, Sample) and record.step == 5)
    os.kill(read_json(stage.run_folder("night", "box0") / "state.json")["pid"], signal.SIGKILL)
    ended = await session.wait()
    await session.close()
    assert ended.state == stage.summary("night")["state"] == "lost"
    again = stage.session("night", Seen())
    await again.attach()
    assert (await again.stop("sweep")).unanswered == ()
    assert stage.alive() == []


async def test_what_was_over_long_ago_is_read_to_its_last_byte(stage: Stage) -> None:
    records: list[FeedRecord] = []
    async with Hosts(stage.cluster()) as hosts:
        await hosts.get("box0")
        folder = stage.run_folder("night", "box0")
        folder.mkdir(parents=True)
        event = Event(time=1.0, host="box0", source="supervisor", kind="note", text="hello")
        (folder / "events.jsonl").write_bytes(encode(event))
        (folder / "rank_0.out").write_bytes(b"one\n" * 200_000 + b"no newline")  # several chunks
        write_json(folder / "state.json", {"state": "failed"})
        experiment = Experiment.create(stage.experiment("night"), "")
        verbs = Verbs(hosts, stage.tree)
        follower = HostFollower("box0", "night", verbs=verbs, experiment=experiment, emit=records.append)
        assert await asyncio.wait_for(follower.run(), 20) == "failed"
        assert follower.live.is_set()
        experiment.close()
    assert event in records
    assert (stage.experiment("night") / "logs/rank_0.log").read_bytes() == b"one\n" * 200_000 + b"no newline\n"


async def test_what_is_taken_over_between_a_hosts_last_line_and_its_end_is_asked_for_again(stage: Stage) -> None:
    async with Hosts(stage.cluster()) as hosts:
        await hosts.get("box0")
        folder = stage.run_folder("night", "box0")
        folder.mkdir(parents=True)
        write_json(folder / "state.json", {"state": "failed"})
        (folder / "rank_0.out").write_bytes(b"one\n")
        shown = Experiment.create(stage.experiment("night"), "")
        follower = HostFollower("box0", "night", verbs=Verbs(hosts, stage.tree), experiment=shown, emit=Seen())
        attach, times = follower._attach, 0

        async def attached() -> None:
            nonlocal times
            await attach()
            times += 1
            if times == 1:
                shown._stale.add("box0")

        follower._attach = attached  # type: ignore[method-assign]
        assert await asyncio.wait_for(follower.run(), 20) == "failed"
        assert times == 2
        assert not shown.stale("box0")
        shown.close()


async def test_a_host_whose_lines_come_before_its_first_beat_is_there(stage: Stage) -> None:
    async with Hosts(stage.cluster()) as hosts:
        experiment = Experiment.create(stage.experiment("night"), "")
        follower = HostFollower("box0", "night", verbs=Verbs(hosts, stage.tree), experiment=experiment, emit=Seen())
        before = follower.up
        follower._take(encode(Chunk(file="rank_0.out", start=0, end=4, text="one\n")))
        assert (before, follower.up) == (False, True)
        experiment.close()


async def test_a_line_that_is_no_record_is_told(stage: Stage) -> None:
    records: list[FeedRecord] = []
    async with Hosts(stage.cluster()) as hosts:
        experiment = Experiment.create(stage.experiment("night"), "")
        follower = HostFollower(
            "box0", "night", verbs=Verbs(hosts, stage.tree), experiment=experiment, emit=records.append
        )
        follower._take(b"Traceback (most recent call last):")
        experiment.close()
    (told,) = records
    assert isinstance(told, Event)
    assert (told.level, told.host) == ("warning", "box0")
    assert told.text.startswith("unreadable line from attach: ")


async def test_leaving_ends_even_what_swallows_a_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(end_tasks, "AGAIN_S", 0.01)

    async def stubborn() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(FOREVER)
        await asyncio.sleep(FOREVER)

    task = asyncio.ensure_future(stubborn())
    await asyncio.sleep(0)
    await asyncio.wait_for(end([task]), 5)
    assert task.cancelled()

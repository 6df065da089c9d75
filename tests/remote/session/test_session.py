"""A run as one console sees it: launched, left, found again, stopped; on demo hosts, with ranks that train nothing."""

from __future__ import annotations

import asyncio
import gc
import shutil
from collections.abc import Mapping

import pytest

from motley.remote.diagnosis.host_clocks import Clocks
from motley.remote.errors import UsageError
from motley.remote.experiment import fetch
from motley.remote.feed import CaughtUp, Ended, Layout, Link, LogLine
from motley.remote.session.session import Session
from motley.trainer.contract.wire import Event
from tests.remote.stage import FOREVER, HOSTS, Seen, Stage, cut, take_away

KEYS = {
    "run", "state", "steps", "epochs", "samples", "seconds", "samples_per_s", "final_loss", "eval", "hosts",
    "rebalances", "regroups", "phases",
}  # fmt: skip


async def launched(stage: Stage, run: str, *, steps: int, env: Mapping[str, str] | None = None) -> tuple[Session, Seen]:
    seen = Seen()
    session = stage.session(run, seen, stage.cluster(steps=steps, hosts=HOSTS, **(env or {})))
    await session.launch()
    return session, seen


async def test_from_launch_to_summary(stage: Stage) -> None:
    session, seen = await launched(stage, "night", steps=25)
    ended = await session.wait()
    await session.close()
    folder = stage.experiment("night")
    assert (ended.state, ended.unanswered) == ("finished", ())
    assert ended.summary == stage.summary("night")
    assert set(ended.summary) == KEYS
    assert (ended.summary["steps"], ended.summary["samples"]) == (25, 25 * 16)
    assert ended.summary["final_loss"] == 0.5  # rank 0 has 0.0, rank 1 has 1.0
    assert [(h["name"], h["state"]) for h in ended.summary["hosts"]] == [("box0", "finished"), ("box1", "finished")]
    assert set(ended.summary["phases"]) >= {"connect_s", "push_s", "spawn_s", "import_s", "rendezvous_s"}
    assert stage.metrics("night") == seen.sequences() == {0: list(range(25)), 1: list(range(25))}
    assert (folder / "cluster.toml").read_text() == (stage.folder / "cluster.toml").read_text()
    assert (folder / "logs/rank_1.log").read_text().splitlines()[1:] == [f"step {n} red" for n in range(1, 26)]
    assert seen.records[-1] == ended
    assert [type(record) for record in seen.records].count(Ended) == 1
    assert {record.host for record in seen.records if isinstance(record, LogLine)} == {"box0", "box1"}
    for name in ("epoch_2", "final"):
        there = stage.run_folder("night", "box0") / "checkpoints" / f"{name}.pt"
        assert (folder / "checkpoints" / f"{name}.pt").read_bytes() == there.read_bytes()


@pytest.mark.parametrize("folder", ["kept", "deleted"])
async def test_leaving_and_coming_back_loses_nothing(stage: Stage, folder: str) -> None:
    first, seen = await launched(stage, "night", steps=FOREVER)
    await seen.further(20)
    await first.close()
    assert len(stage.alive()) >= 5  # two supervisors, two ranks, a coordinator
    if folder == "deleted":
        shutil.rmtree(stage.experiment("night"))

    again = Seen()
    second = stage.session("night", again)
    await second.attach()
    layout = next(record for record in again.records if isinstance(record, Layout))
    assert [(rank.member, rank.host) for rank in layout.ranks] == [(0, "box0"), (1, "box1")]
    assert layout.attached
    await again.further(50)
    ended = await second.stop("x pressed")
    await second.close()
    assert ended.state == "stopped"
    assert stage.alive() == []
    for sequences in (stage.metrics("night"), again.sequences()):
        assert set(sequences) == {0, 1}
        for numbers in sequences.values():
            assert numbers == list(range(len(numbers)))
    assert ended.summary["steps"] == len(stage.metrics("night")[0])
    assert (stage.experiment("night") / "cluster.toml").exists()


@pytest.mark.parametrize("folder", ["kept", "deleted"])
async def test_what_was_before_is_told_in_order_and_then_that_it_was_all(stage: Stage, folder: str) -> None:
    first, seen = await launched(stage, "night", steps=FOREVER)
    await seen.further(20)
    await first.close()
    if folder == "deleted":
        shutil.rmtree(stage.experiment("night"))
    second = stage.session("night", again := Seen())
    await second.attach()
    await second.caught_up()
    now = next(at for at, record in enumerate(again.records) if record == CaughtUp(over=False))
    assert next(record for record in again.records if isinstance(record, Layout)).behind
    before = [record for record in again.records[:now] if isinstance(record, Event) and record.host != "console"]
    assert {event.host for event in before} == {"box0", "box1"}
    clocks = Clocks()
    for record in again.records[:now]:
        if isinstance(record, Link):
            clocks.hear(record)
    times = [clocks.at(event.host, event.time) for event in before]
    assert times == sorted(times)
    assert {"started", "group"} <= {event.kind for event in before}
    await second.stop("enough")
    await second.close()


async def test_whoever_no_longer_waits_for_what_was_before_hears_no_complaint(stage: Stage) -> None:
    session, _ = await launched(stage, "night", steps=FOREVER)
    said: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    waiting = asyncio.create_task(session.caught_up())
    await asyncio.sleep(0)  # it has begun, and no host has been heard yet
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    del waiting
    await asyncio.sleep(0)  # the loop lets go of it
    gc.collect()  # a future that nobody asked for its error says so when it goes
    assert said == []
    await session.stop("enough")


async def test_what_happened_while_nobody_watched_is_fetched(stage: Stage) -> None:
    first, seen = await launched(stage, "night", steps=60)
    await seen.further(5)
    await first.close()
    second = stage.session("night", again := Seen())
    await second.attach()
    ended = await second.wait()
    await second.close()
    assert ended.state == stage.summary("night")["state"] == "finished"
    assert stage.metrics("night") == again.sequences() == {0: list(range(60)), 1: list(range(60))}
    assert (stage.experiment("night") / "checkpoints/final.pt").exists()


async def test_a_checkpoint_announced_to_a_console_that_left_is_fetched_by_the_next(stage: Stage) -> None:
    first, _ = await launched(stage, "night", steps=10)
    await first.wait()
    await first.close()
    final = stage.experiment("night") / "checkpoints/final.pt"
    final.unlink()
    second = stage.session("night", Seen())
    await second.attach()
    await second.wait()
    await second.close()
    assert final.read_bytes().startswith(b"final at 10\n")


@pytest.mark.parametrize("by", ["first", "second"])
async def test_of_two_consoles_on_one_run_either_stops_it_and_both_see_the_same(stage: Stage, by: str) -> None:
    first, seen = await launched(stage, "night", steps=FOREVER)
    await seen.further(20)
    second = stage.session("night", watching := Seen())
    await second.attach()
    await watching.further(20)
    stops, watches = (first, second) if by == "first" else (second, first)
    ended = await stops.stop("enough")
    theirs = await watches.wait()
    await second.close()
    await first.close()
    assert (ended.state, theirs.state) == ("stopped", "stopped")
    assert {**theirs.summary, "hosts": []} == {**ended.summary, "hosts": []}
    assert stage.alive() == []
    assert watching.sequences() == seen.sequences() == stage.metrics("night")
    assert all(numbers == list(range(len(numbers))) for numbers in seen.sequences().values())
    for records in (seen.records, watching.records):
        assert any(r.kind == "stopping" and "enough" in r.text for r in records if isinstance(r, Event))
    assert stage.summary("night") == (ended if by == "first" else theirs).summary


async def test_a_stop_leaves_no_process_that_ignores_it(stage: Stage) -> None:
    session, seen = await launched(stage, "night", steps=FOREVER, env={"STUBBORN": "1"})
    await seen.further(5)
    assert len(stage.alive()) >= 7  # as ever, and the ranks' children
    ended = await session.stop("x pressed")
    assert (ended.state, ended.unanswered) == ("stopped", ())
    assert stage.alive() == []
    await session.close()


async def test_a_stop_outlasts_a_lost_connection(stage: Stage) -> None:
    session, seen = await launched(stage, "night", steps=FOREVER, env={"STUBBORN": "1"})
    await seen.further(5)
    asyncio.get_running_loop().call_later(0.3, cut, session)  # the ranks are in their grace then
    ended = await session.stop("x pressed")
    assert ended.unanswered == ()
    assert stage.alive() == []
    await session.close()


async def test_lost_connections_lose_no_line(stage: Stage) -> None:
    session, seen = await launched(stage, "night", steps=FOREVER)
    await seen.further(20)
    for _ in range(5):
        cut(session)
        await seen.further(60)  # more than was on its way
    await session.stop("enough")
    await session.close()
    assert any(isinstance(record, Link) and not record.up for record in seen.records)
    assert stage.metrics("night") == seen.sequences()
    for member in (0, 1):
        there = stage.run_folder("night", f"box{member}") / f"rank_{member}.jsonl"
        assert (stage.experiment("night") / f"logs/rank_{member}_metrics.jsonl").read_bytes() == there.read_bytes()
    checkpoints = [r.data["path"] for r in seen.records if isinstance(r, Event) and r.kind == "checkpoint"]
    assert (stage.experiment("night") / checkpoints[-1]).exists()


async def test_a_connection_lost_at_the_very_end_does_not_change_how_it_ended(stage: Stage) -> None:
    session, seen = await launched(stage, "night", steps=20)

    def ends(record: object) -> bool:
        if isinstance(record, Event) and record.kind == "ended" and record.host == "box0":
            asyncio.get_running_loop().call_later(0.02, cut, session)
            cut(session)
            return True
        return False

    await seen.until(ends)
    ended = await session.wait()
    await session.close()
    assert (ended.state, ended.summary["steps"]) == ("finished", 20)


async def test_a_host_that_is_gone_for_good_is_named(stage: Stage) -> None:
    session, seen = await launched(stage, "night", steps=FOREVER)
    await seen.further(5)
    await take_away(session, "box1")
    ended = await session.stop("x pressed")
    await session.close()
    assert (ended.state, ended.unanswered) == ("stopped", ("box1",))
    states = {host["name"]: host["state"] for host in ended.summary["hosts"]}
    assert states["box0"] == "stopped"
    assert any(r.level == "error" and "box1" in r.text for r in seen.records if isinstance(r, Event))


async def test_a_leader_that_is_gone_for_good_is_named(stage: Stage) -> None:
    session, seen = await launched(stage, "night", steps=FOREVER)
    await seen.further(5)
    await take_away(session, "box0")
    ended = await session.stop("x pressed")
    await session.close()
    assert (ended.state, ended.unanswered) == ("stopped", ("box0",))
    assert {host["name"]: host["state"] for host in ended.summary["hosts"]} == {"box0": "lost", "box1": "stopped"}
    assert set(ended.summary) == KEYS
    assert (ended.summary["steps"] > 0, ended.summary["seconds"] is None) == (True, False)  # as its ranks told


async def test_a_checkpoint_that_is_not_what_was_announced_is_refused(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "REPLACED_S", 0.2)
    session, seen = await launched(stage, "night", steps=10, env={"FALSE_SHA256": "1"})
    await session.wait()
    await session.close()
    assert list((stage.experiment("night") / "checkpoints").iterdir()) == []
    warnings = [r.text for r in seen.records if isinstance(r, Event) and r.level == "warning"]
    assert any("final.pt" in text and "SHA-256" in text for text in warnings)


async def test_a_run_that_no_host_knows(stage: Stage) -> None:
    stage.cluster()
    session = stage.session("never", Seen())
    with pytest.raises(UsageError, match="no host knows a run named 'never'"):
        await session.attach()
    await session.close()
    assert not (stage.folder / "experiments").exists()


@pytest.mark.long
async def test_the_console_s_disk_is_not_the_run_s(stage: Stage) -> None:
    """What can't be kept here is said once; the run goes on, is followed all the same, and can be read later."""
    seen = Seen()
    session = stage.session("night", seen, stage.cluster(steps=FOREVER))
    blocked = stage.experiment("night") / "logs/rank_1_metrics.jsonl"

    def block(record: object) -> bool:
        if isinstance(record, Layout):
            blocked.symlink_to("/dev/full")
        return isinstance(record, Layout)

    def full(record: object) -> bool:
        return isinstance(record, Event) and "night can't be written: No space left on device" in record.text

    layout = asyncio.ensure_future(seen.until(block))
    said = asyncio.ensure_future(seen.until(full))
    await asyncio.sleep(0)
    await session.launch()
    await layout
    await said
    await seen.further(300)  # for longer than until the next commit
    await session.close()
    (event,) = filter(full, seen.records)
    assert isinstance(event, Event)
    assert event.level == "warning"
    assert "attach night" in event.text
    assert all(numbers == list(range(len(numbers))) for numbers in seen.sequences().values())
    blocked.unlink()
    assert len(stage.alive()) >= 5
    second = stage.session("night", again := Seen())
    await second.attach()
    await again.further(20)
    await second.stop("done")
    await second.close()
    assert all(numbers == list(range(len(numbers))) for numbers in stage.metrics("night").values())
    assert set(stage.metrics("night")) == {0, 1}

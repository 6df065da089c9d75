"""A run told again: from its beginning, from a step, back and forth, as fast as was asked, and while it goes on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from motley.console.commands.after_run.replay import curves_of
from motley.console.control.run_life import RunLife
from motley.console.control.session_protocol import Emit, Opened, Plan
from motley.console.replay import timeline
from motley.console.replay.player import IDLE_S, Player
from motley.console.replay.timeline import Timeline
from motley.console.report.past_run import PastRun
from motley.console.state.snapshot import Snapshot
from motley.console.state.store import Store
from motley.remote.errors import UsageError
from motley.remote.feed import FeedRecord, Layout, StepsBefore, ToldAnew
from motley.remote.ssh.new_host_keys import Ask, nobody
from motley.trainer.contract.wire import encode
from tests.console import scripted
from tests.console.replay.recorded import folder


class Watched:
    """A player, what it told in a store, and a clock that a test sets."""

    def __init__(self, path: Path, *, speed: float = 1.0, at: int | None = None) -> None:
        self.seconds = 0.0
        self.store = Store(readonly=True)
        self.has_curves = asyncio.Event()
        self.player = Player(
            Timeline(PastRun.open(path)), speed=speed, at=at, real=lambda: self.seconds, curves=lambda: curves_of(path)
        )

    def hear(self, record: FeedRecord) -> None:
        if isinstance(record, ToldAnew):
            self.store = Store(readonly=True)
        else:
            self.store.apply(record, self.player.now())
        if isinstance(record, StepsBefore) and record.steps:
            self.has_curves.set()

    async def attached(self) -> Watched:
        await self.player.opened(self.hear, nobody)
        await self.player.attach()
        return self

    def after(self, seconds: float) -> Snapshot:
        self.seconds += seconds
        self.player.tick()
        return self.store.snapshot()


def played(path: Path, look: Callable[[Watched], None], **options: float | int) -> None:
    async def through() -> None:
        watched = await Watched(path, **options).attached()  # type: ignore[arg-type]
        try:
            look(watched)
        finally:
            await watched.player.close()

    asyncio.run(through())


def test_a_replay_goes_so_many_times_as_fast_as_the_run_did(tmp_path: Path) -> None:
    def look(watched: Watched) -> None:
        began = watched.player.now()
        assert watched.store.snapshot().step == 0
        shown = watched.after(1.0)
        assert watched.player.now() == pytest.approx(began + 4.0)
        watched.player.change_speed(0.5)
        watched.after(1.0)
        assert watched.player.now() == pytest.approx(began + 6.0)
        assert shown.step < watched.store.snapshot().step

    played(folder(tmp_path / "night"), look, speed=4.0)


def test_it_stands_still_while_it_is_held_and_goes_step_by_step_both_ways(tmp_path: Path) -> None:
    def look(watched: Watched) -> None:
        for expected in (21, 22, 23):
            watched.player.step()
            assert watched.store.snapshot().step == expected
        assert watched.after(60.0).step == 23
        for expected in (22, 21, 20):
            watched.player.step_back()
            assert watched.store.snapshot().step == expected
        watched.player.pause()
        assert watched.after(0.35).step > 20

    played(folder(tmp_path / "night"), look, at=20)


def test_what_is_shown_at_a_step_is_what_the_console_showed_then(tmp_path: Path) -> None:
    def look(watched: Watched) -> None:
        snapshot = watched.store.snapshot()
        assert (snapshot.step, snapshot.run, snapshot.phase, snapshot.state) == (40, "night", "running", "")
        assert [decision.step for decision in snapshot.decisions] == [11, 31]
        assert snapshot.accuracy is not None
        assert {rank.host: rank.batch for rank in snapshot.ranks} == dict(
            zip(scripted.HOSTS, scripted.SPLITS[-1][1], strict=True)
        )
        assert {host.name: host.speed for host in snapshot.hosts} == scripted.SPEEDS
        assert all(host.emulated for host in snapshot.hosts)
        watched.player.jump(0.0)
        assert watched.store.snapshot().step == 0
        watched.player.jump(1.0)
        ended = watched.store.snapshot()
        assert (ended.step, ended.phase, ended.state) == (60, "ended", "finished")
        watched.player.seek(-0.5)
        assert 25 <= watched.store.snapshot().step <= 35

    played(folder(tmp_path / "night"), look, at=40)


def test_a_long_run_is_shown_from_a_step_without_reading_what_was_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline, "WHOLE", 0)
    monkeypatch.setattr(timeline, "BEFORE", 4000)
    path = folder(tmp_path / "night", steps=400)

    async def through() -> None:
        watched = await Watched(path, at=390).attached()
        told = watched.store.snapshot()
        await watched.has_curves.wait()
        shown = watched.store.snapshot()
        await watched.player.close()
        assert (told.step, shown.step) == (390, 390)
        assert len(told.losses) < 100
        monkeypatch.setattr(timeline, "WHOLE", 1 << 30)
        whole = await Watched(path, at=390).attached()
        expected = whole.store.snapshot()
        await whole.player.close()
        assert [step for step, _ in shown.losses] == [step for step, _ in expected.losses]
        assert [value for _, value in shown.losses] == pytest.approx([value for _, value in expected.losses])
        assert [value for _, value in shown.throughput] == pytest.approx([value for _, value in expected.throughput])
        assert (shown.decisions, shown.accuracy) == (expected.decisions, expected.accuracy)
        assert shown.ranks == expected.ranks

    asyncio.run(through())


def test_where_nothing_happened_for_long_it_goes_on_with_what_came_next(tmp_path: Path) -> None:
    path = folder(tmp_path / "night", steps=5)
    file = path / "events.jsonl"
    late = scripted.event("note", "much later", time=scripted.START + 100_000)
    file.write_bytes(file.read_bytes() + encode(late))

    def look(watched: Watched) -> None:
        watched.after(30.0)
        watched.after(IDLE_S / 2)
        assert watched.player.now() < scripted.START + 1000
        watched.after(IDLE_S / 2)
        assert watched.player.now() == scripted.START + 100_000

    played(path, look)


def test_a_run_that_goes_on_is_followed_as_its_folder_grows(tmp_path: Path) -> None:
    path = folder(tmp_path / "night", steps=5, ended=False)

    def look(watched: Watched) -> None:
        assert watched.after(3600.0).phase == "running"
        with (path / "events.jsonl").open("ab") as file:
            file.write(encode(scripted.event("note", "it goes on", time=scripted.START + 60)))
        watched.after(2.0)
        watched.after(3600.0)
        assert [entry.text for entry in watched.store.log()][-1] == "it goes on"
        assert watched.store.snapshot().phase == "running"

    played(path, look)


def test_what_the_ranks_printed_comes_when_it_was_printed(tmp_path: Path) -> None:
    path = folder(tmp_path / "night", steps=40)
    began = scripted.START
    (path / "logs" / "rank_1.log").write_text("early\nlate \x1b[31mred\n")
    (path / "logs" / "rank_1.times").write_text(f"[0, {began + 4.0}]\n[6, {began + 9.0}]\n")

    def look(watched: Watched) -> None:
        watched.after(4.0)
        assert [(entry.label, entry.text) for entry in watched.store.log()].count(("laptop", "early")) == 1
        assert not [entry for entry in watched.store.log() if "red" in entry.text]
        watched.after(4.0)
        assert [entry.text for entry in watched.store.log()].count("late red") == 1

    played(path, look)


def test_of_long_output_that_nobody_knows_the_times_of_the_last_is_told(tmp_path: Path) -> None:
    path = folder(tmp_path / "night", steps=40)
    (path / "logs" / "rank_1.log").write_text("".join(f"line {number}\n" for number in range(4_000)))

    def look(watched: Watched) -> None:
        lines = [entry.text for entry in watched.store.log() if entry.text.startswith("line ")]
        assert lines[-1] == "line 3999"
        assert len("\n".join(lines)) <= timeline.PRINTED

    played(path, look)


def test_a_folder_that_leads_elsewhere_is_not_followed_there(tmp_path: Path) -> None:
    path = folder(tmp_path / "night", steps=3)
    elsewhere = tmp_path / "elsewhere"
    os.rename(path / "logs", elsewhere)
    (path / "logs").symlink_to(elsewhere)

    played(path, lambda watched: None if watched.after(3600.0).step == 0 else pytest.fail("it was read"))


def test_nothing_can_be_asked_of_the_hosts_of_a_replay(tmp_path: Path) -> None:
    player = Player(Timeline(PastRun.open(folder(tmp_path / "night", steps=3))))
    for asked in (player.launch(), player.stop("x"), player.join("box1"), player.checkpoint()):
        with pytest.raises(UsageError, match="this is a replay of 'night'"):
            asyncio.run(asked)


def test_leaving_a_replay_leaves_nothing_behind(tmp_path: Path) -> None:
    path = folder(tmp_path / "night", steps=3)
    before = {file: file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}
    player = Player(Timeline(PastRun.open(path)))

    async def through() -> None:
        laid_out = asyncio.Event()

        async def opened(emit: Emit, ask: Ask) -> Opened:
            def hear(record: FeedRecord) -> None:
                emit(record)
                if isinstance(record, Layout):
                    laid_out.set()

            return await player.opened(hear, ask)

        plan = Plan(cluster="x", open=opened, renew=opened, attach=True, readonly=True, playback=player)
        life = RunLife(plan, lambda: 0.0)
        following = asyncio.ensure_future(life.first())
        await laid_out.wait()
        assert life.snapshot().run == "night"
        assert life.now() == player.now()
        outcome = await life.leave()
        following.cancel()
        assert (outcome.code, outcome.data, outcome.text) == (0, None, "")

    asyncio.run(through())
    assert {file: file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()} == before

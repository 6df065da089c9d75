"""The run in plain lines: what is said, how often, and what Ctrl-C does."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from motley.console.commands.plain import LINES_PER_S, PlainRun, Printer, run_plain
from motley.console.control.session_protocol import Outcome, ended
from motley.console.state.own_command import plainly
from motley.remote.errors import CheckFailed, NewKey
from motley.remote.feed import CaughtUp, Ended, LogLine
from tests.console import scripted
from tests.console.scripted import START, event, layout, sample


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def printer() -> tuple[Printer, list[str], Clock]:
    lines: list[str] = []
    clock = Clock()
    return Printer(write=lines.append, clock=clock), lines, clock


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until it gets there; the bound is in turns, not seconds."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("never got there")


def said(lines: list[str], word: str) -> list[str]:
    return [line for line in lines if word in line]


async def follow(**options: Any) -> tuple[Outcome, list[str], list[scripted.Scripted]]:
    plan, sessions = scripted.plan(**options)
    shown, lines, _ = printer()
    return await run_plain(plan, printer=shown), lines, sessions


async def test_a_run_is_told_from_start_to_end() -> None:
    outcome, lines, sessions = await follow(steps=60)
    assert (outcome.code, outcome.data) == (0, scripted.summary("home-1", steps=60))
    assert "laptop (emulated)" in said(lines, "run home-1: simple_cnn/digits")[0]
    assert len(said(lines, "push: trainer")) == 4
    assert len(said(lines, "waiting for laptop (importing torch)")) == 1
    assert len(said(lines, "new split from step")) == 2
    assert "desktop 64→112" in said(lines, "new split from step 11:")[0]
    assert said(lines, "split of step 11: predicted 102 ms a step, measured 106 ms")
    assert said(lines, "epoch 2: accuracy")
    assert "the run finished" in lines[-1]
    assert sessions[0].calls == ["launch", "close"]


async def test_a_new_host_key_is_asked_about_before_the_run_starts() -> None:
    key = NewKey(host="box2", name="box2", fingerprint="SHA256:abc", line="")
    asked: list[NewKey] = []

    async def accept(shown: NewKey) -> bool:
        asked.append(shown)
        return len(asked) > 1

    plan, _ = scripted.plan(steps=60, new_key=key)
    with pytest.raises(CheckFailed, match="accept it: ssh box2 true"):
        await run_plain(plan, printer=printer()[0], ask=accept)
    assert (await run_plain(plan, printer=printer()[0], ask=accept)).code == 0
    assert asked == [key, key]


def test_throughput_is_told_every_five_seconds_and_once_a_second_in_short_epochs() -> None:
    shown, lines, clock = printer()
    shown(layout())
    for step in range(1, 101):
        clock.now += 0.1
        for member in range(4):
            shown(sample(step, member, epoch=0))
    assert 2 <= len(said(lines, "samples/s")) <= 3
    lines.clear()
    for step in range(101, 201):
        clock.now += 0.1
        for member in range(4):
            shown(sample(step, member, epoch=step))
    assert 9 <= len(said(lines, "samples/s")) <= 11
    assert "epoch 1" in said(lines, "samples/s")[0]


def test_a_rank_that_floods_its_output_does_not_flood_the_narration() -> None:
    shown, lines, clock = printer()
    for n in range(1000):
        shown(LogLine(host="box1", member=2, text=f"line {n}"))
    assert len(lines) == LINES_PER_S
    clock.now += 1
    shown(LogLine(host="box1", member=2, text="later"))
    assert "980 more lines" in lines[-2]
    assert "later" in lines[-1]


def test_warnings_and_errors_are_named_as_such() -> None:
    shown, lines, _ = printer()
    shown(event("note", "the disk is nearly full", host="box1", level="warning"))
    assert lines[0].endswith("box1          warning: the disk is nearly full")


async def test_ctrl_c_stops_the_run_with_code_4() -> None:
    plan, sessions = scripted.plan(hold=True, steps=30)
    shown, lines, _ = printer()
    following = asyncio.ensure_future(run_plain(plan, printer=shown))
    await until(lambda: bool(sessions) and sessions[0].played.is_set())
    os.kill(os.getpid(), signal.SIGINT)
    outcome = await asyncio.wait_for(following, 5)
    assert sessions[0].calls == ["launch", "stop Ctrl-C", "close"]
    assert (outcome.code, outcome.data) == (4, scripted.summary("home-1", "stopped", steps=30))
    assert said(lines, "Ctrl-C again leaves at once")


async def test_ctrl_c_leaves_a_run_that_is_only_watched() -> None:
    plan, sessions = scripted.plan(hold=True, steps=30, attach=True, readonly=True)
    following = asyncio.ensure_future(run_plain(plan, printer=printer()[0]))
    await until(lambda: bool(sessions) and sessions[0].played.is_set())
    os.kill(os.getpid(), signal.SIGINT)
    outcome = await asyncio.wait_for(following, 5)
    assert sessions[0].calls == ["attach", "close"]
    assert (outcome.code, outcome.data) == (0, {"run": "home-1", "state": "running"})


async def test_a_second_ctrl_c_leaves_at_once_and_says_that_the_run_may_go_on() -> None:
    plan, sessions = scripted.plan(hold=True, steps=30)
    shown, _, _ = printer()
    run = PlainRun(plan, shown)
    following = asyncio.ensure_future(run.follow())
    await until(lambda: bool(sessions) and sessions[0].played.is_set())
    never: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    async def silent(reason: str) -> Ended:
        sessions[0].calls.append(reason)
        return await never

    sessions[0].stop = silent  # type: ignore[method-assign]
    run.interrupt()
    await until(lambda: "Ctrl-C" in sessions[0].calls)
    run.interrupt()
    outcome = await asyncio.wait_for(following, 5)
    assert outcome.code == 1
    assert "'home-1' may go on" in outcome.text
    assert outcome.data == {"run": "home-1", "state": "stopping"}


async def test_detach_starts_the_run_and_leaves_it() -> None:
    plan, sessions = scripted.plan(hold=True)
    shown, _, _ = printer()
    outcome = await run_plain(plan, printer=shown, detach=True)
    assert sessions[0].calls == ["launch", "close"]
    assert (outcome.code, outcome.data) == (0, {"run": "home-1", "state": "running"})
    assert "motley attach home-1" in outcome.text


async def test_a_failed_check_closes_the_session_and_reaches_the_command_line() -> None:
    plan, sessions = scripted.plan(fail=CheckFailed(scripted.FINDINGS))
    shown, _, _ = printer()
    with pytest.raises(CheckFailed):
        await run_plain(plan, printer=shown)
    assert sessions[0].calls == ["launch", "close"]


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (Ended(state="finished"), 0),
        (Ended(state="failed"), 1),
        (Ended(state="lost"), 1),
        (Ended(state="stopped"), 4),
        (Ended(state="stopped", unanswered=("box1",)), 1),
    ],
)
def test_exit_codes_follow_the_end_of_the_run(record: Ended, code: int) -> None:
    assert ended("home-1", record, plainly).code == code


def attached(*, over: bool, history: bool = False) -> list[str]:
    """The lines of an attach to a run that has told of thirty things before."""
    lines: list[str] = []
    printer = Printer(write=lines.append, clock=lambda: START + 500, history=history)
    printer(replace(scripted.layout(attached=True), behind=True))
    for n in range(30):
        printer(event("note", f"number {n}", time=START + n))
    printer(CaughtUp(over=over))
    if over:
        printer(Ended(state="finished", summary=scripted.summary("home-1")))
    return lines


def test_an_attach_tells_the_last_lines_of_before_with_their_own_times() -> None:
    lines = attached(over=False)
    assert sum("number" in line for line in lines) == 10
    assert any("20 lines from before are left out" in line for line in lines)
    assert lines[-1].endswith("number 29")
    assert lines[-1].startswith(time.strftime("%H:%M:%S", time.localtime(START + 29)))


def saved(printer: Printer, epoch: int, at: float) -> None:
    written = event("checkpoint", f"checkpoint epoch_{epoch}.pt at step {epoch}", time=at)
    printer(replace(written, data={"path": f"checkpoints/epoch_{epoch}.pt"}))
    printer(event("evaluated", f"epoch {epoch}: accuracy 90 %", time=at))


def test_checkpoints_of_each_epoch_are_told_now_and_then() -> None:
    lines: list[str] = []
    printer = Printer(write=lines.append, clock=lambda: START)
    for epoch in range(40):
        saved(printer, epoch, START + epoch)
    assert len(said(lines, "accuracy")) == 40
    assert len(said(lines, "checkpoint")) == 2


def test_the_last_lines_of_before_are_not_half_of_them_about_checkpoints() -> None:
    lines: list[str] = []
    printer = Printer(write=lines.append, clock=lambda: START + 500)
    printer(replace(scripted.layout(attached=True), behind=True))
    for epoch in range(40):
        saved(printer, epoch, START + epoch)
    printer(CaughtUp(over=False))
    printer(event("note", "now", time=START + 50))
    assert len(said(lines, "accuracy")) == 9
    assert len(said(lines, "checkpoint")) == 1
    times = [line.split()[0] for line in lines if "found" not in line]
    assert times == sorted(times)


def test_a_rank_s_line_of_before_says_by_when_it_was_printed() -> None:
    lines: list[str] = []
    printer = Printer(write=lines.append, clock=lambda: START)
    minute = START - START % 60
    printer(LogLine(host="desktop", member=0, text="of before", time=minute + 1, at_latest=True))
    printer(LogLine(host="desktop", member=0, text="of now", time=minute + 1))
    assert lines[0].startswith(time.strftime("by %H:%M", time.localtime(minute + 60)))
    assert lines[1].startswith(time.strftime("%H:%M:%S", time.localtime(minute + 1)))


def test_an_attach_to_a_run_that_has_ended_tells_how_it_ended() -> None:
    lines = attached(over=True)
    assert not any("number" in line for line in lines)
    assert lines[-1].endswith("the run finished")
    assert len(lines) == 2
    assert sum("number" in line for line in attached(over=True, history=True)) == 30

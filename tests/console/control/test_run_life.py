"""What a restart goes on from, and that nothing is left on hosts of a run that is stopped while it starts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from motley.console.control.questions import BEFORE_START, WHILE_STOPPING, Question, restart, stop
from motley.console.control.run_life import RunLife
from motley.console.control.session_protocol import Emit, Opened, Plan
from motley.remote.errors import RunFailed, UsageError
from motley.remote.feed import Ended
from motley.remote.ssh.new_host_keys import Ask
from tests.console import scripted
from tests.console.scripted import START, Scripted, event


def life(*, script: bool) -> RunLife:
    made = RunLife(scripted.plan()[0], clock=lambda: START)
    made.store.apply(replace(scripted.layout(), script=script), START)
    members = [{"member": n, "host": host} for n, host in enumerate(scripted.HOSTS)]
    made.store.apply(event("group", "all are ready", generation=0, members=members), START)
    return made


def test_a_script_that_has_left_results_is_gone_on_from_and_no_other() -> None:
    made = life(script=True)
    assert made.to_resume() is None
    question = restart(made.snapshot(), resumes=False)
    assert question is not None
    assert question.detail.endswith("A new one starts from the beginning.")
    made.store.apply(event("results", "results of desktop are brought to results/desktop"), START)
    assert made.to_resume() == "home-1"
    question = restart(made.snapshot(), resumes=True)
    assert question is not None
    assert question.detail.endswith("A new one has its newest results to go on from.")
    asked = stop(made.snapshot())
    assert asked is not None
    assert asked.detail.endswith("motley run --resume goes on from its results.")
    made.store.apply(Ended(state="finished", summary={}), START)
    assert made.to_resume() is None


def test_a_task_is_gone_on_from_once_it_has_made_a_step() -> None:
    made = life(script=False)
    assert made.to_resume() is None
    for sample in (record for _, record in scripted.training(2, now=lambda: START)):
        made.store.apply(sample, START)
    assert made.to_resume() == "home-1"


FAILS_S = 3.0  # of a test that fails


class Slow(Scripted):
    """Hosts that take their time: to end what has begun of a start that is broken off, and to be stopped."""

    def slow(self) -> None:
        self.begun, self.stopping, self.hosts_may = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def launch(self, *, resume: str | None = None, why_cold: str = "") -> None:  # noqa: ARG002
        self.calls.append(f"launch {resume}" if resume else "launch")
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.calls.append("broken off")
            self.stopping.set()
            await asyncio.wait_for(self.hosts_may.wait(), FAILS_S)
            self.calls.append("hosts have ended it")
            raise

    async def stop(self, reason: str) -> Ended:
        self.stopping.set()
        await asyncio.wait_for(self.hosts_may.wait(), FAILS_S)
        return await super().stop(reason)


def slow(*, attach: bool = False, bound_s: float = 60.0) -> tuple[RunLife, list[Slow]]:
    sessions: list[Slow] = []

    async def opened(emit: Emit, ask: Ask) -> Opened:
        sessions.append(Slow(emit, run=f"home-{len(sessions) + 1}", ask=ask, hold=True, steps=3))
        sessions[-1].slow()
        return Opened(session=sessions[-1], stop_bound_s=bound_s)

    return RunLife(Plan(cluster="home", open=opened, renew=opened, attach=attach), clock=lambda: START), sessions


async def until(condition: Callable[[], object]) -> None:
    """The bound is in turns of the event loop, not in seconds."""
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("never got there")


async def test_leaving_during_a_start_closes_nothing_before_hosts_have_ended_what_had_begun() -> None:
    made, sessions = slow()
    following = asyncio.ensure_future(made.first())
    await until(lambda: sessions and sessions[0].begun.is_set())
    assert made.before_leaving() == BEFORE_START
    leaving = asyncio.ensure_future(made.leave(answered=BEFORE_START))
    await until(sessions[0].stopping.is_set)
    await until(lambda: made.snapshot().phase == "stopping")
    sessions[0].hosts_may.set()
    outcome = await leaving
    assert outcome.code == 4
    ended = ["launch", "broken off", "hosts have ended it", "stop left before it started", "close"]
    assert sessions[0].calls == ended
    await following


async def test_a_start_that_hosts_do_not_end_in_time_is_told_when_the_console_is_left() -> None:
    made, sessions = slow(bound_s=0.0)
    following = asyncio.ensure_future(made.first())
    await until(lambda: sessions and sessions[0].begun.is_set())
    outcome = await made.leave(answered=BEFORE_START)
    assert (outcome.code, outcome.data) == (1, {"run": "home-1", "state": "stopping"})
    assert "motley status tells what is left" in outcome.text
    assert sessions[0].calls[-1] == "close"
    assert "ranks may run on" in made.snapshot().problems[0].cause
    await following


async def test_a_restart_during_a_start_breaks_it_off_once_and_waits_for_its_hosts() -> None:
    made, sessions = slow()
    following = asyncio.ensure_future(made.first())
    await until(lambda: sessions and sessions[0].begun.is_set())
    following.cancel()  # the app follows one run at a time
    await asyncio.wait([following])
    restarting = asyncio.ensure_future(made.restart())
    await until(sessions[0].stopping.is_set)
    sessions[0].hosts_may.set()
    await until(lambda: len(sessions) == 2)
    ended = ["launch", "broken off", "hosts have ended it", "stop r in the console", "close"]
    assert sessions[0].calls == ended
    sessions[1].hosts_may.set()
    await made.leave(answered=BEFORE_START)
    await restarting


async def test_a_stop_while_the_run_is_looked_for_stops_the_one_that_is_found() -> None:
    made, sessions = slow(attach=True)
    looked_at, found = asyncio.Event(), asyncio.Event()
    opened = made._plan.open

    async def looking(emit: Emit, ask: Ask) -> Opened:
        looked_at.set()
        await found.wait()
        return await opened(emit, ask)

    made._plan = replace(made._plan, open=looking)
    following = asyncio.ensure_future(made.first())
    await looked_at.wait()
    stopping = asyncio.ensure_future(made.stop("x in the console"))
    await until(lambda: made.snapshot().phase == "stopping")
    found.set()
    await until(lambda: sessions and sessions[0].stopping.is_set())
    sessions[0].hosts_may.set()
    await stopping
    assert sessions[0].calls == ["attach", "stop x in the console"]
    assert (made.snapshot().phase, made.snapshot().state) == ("ended", "stopped")
    await following


async def test_a_stop_while_no_run_is_found_says_why_and_not_that_one_was_stopped() -> None:
    looked_at, answered = asyncio.Event(), asyncio.Event()

    async def nothing(_emit: Emit, _ask: Ask) -> Opened:
        looked_at.set()
        await answered.wait()
        raise UsageError("the hosts know of no run")

    made = RunLife(Plan(cluster="home", open=nothing, renew=nothing, attach=True), clock=lambda: START)
    following = asyncio.ensure_future(made.first())
    await looked_at.wait()
    stopping = asyncio.ensure_future(made.stop("x in the console"))
    await until(lambda: made.snapshot().phase == "stopping")
    answered.set()
    await stopping
    await following
    assert made.snapshot().problems[0].cause == "the hosts know of no run"
    assert (await made.leave()).code == 2


async def test_a_new_run_that_begins_in_a_console_which_had_attached_is_stopped_when_it_is_left() -> None:
    made, sessions = slow(attach=True)
    following = asyncio.ensure_future(made.first())
    await until(lambda: made.snapshot().step == 3)
    assert made.before_leaving() is None
    sessions[0].hosts_may.set()
    following.cancel()
    restarting = asyncio.ensure_future(made.restart())
    await until(lambda: len(sessions) == 2 and sessions[1].begun.is_set())
    assert made.before_leaving() == BEFORE_START
    sessions[-1].hosts_may.set()
    await made.leave(answered=BEFORE_START)
    assert sessions[-1].calls[-3:] == ["hosts have ended it", "stop left before it started", "close"]
    await restarting


@pytest.mark.parametrize(("answered", "state"), [(None, "stopped"), (WHILE_STOPPING, "stopping")])
async def test_a_stop_that_has_begun_is_cut_short_only_when_the_user_says_so(
    answered: Question | None, state: str
) -> None:
    """None: nobody can be asked, as the terminal is gone."""
    made, sessions = slow(attach=True)
    following = asyncio.ensure_future(made.first())
    await until(lambda: made.snapshot().step == 3)
    stopping = asyncio.ensure_future(made.stop("x in the console"))
    await until(sessions[0].stopping.is_set)
    leaving = asyncio.ensure_future(made.leave(answered=answered))
    if answered is None:
        await asyncio.sleep(0)
        assert "close" not in sessions[0].calls
        sessions[0].hosts_may.set()
    outcome = await leaving
    assert outcome.data is not None
    assert outcome.data["state"] == state
    await asyncio.wait([stopping])
    following.cancel()


async def test_a_run_that_made_no_step_hands_on_what_it_was_to_go_on_from() -> None:
    plan, sessions = scripted.plan(hold=True, steps=3)
    made = RunLife(plan, clock=lambda: START)
    following = asyncio.ensure_future(made.first())
    await until(lambda: made.snapshot().step == 3)
    following.cancel()

    async def fails(emit: Emit, ask: Ask) -> Opened:
        opened = await plan.open(emit, ask)
        sessions[-1]._fail = RunFailed("box1: the supervisor ended at once")
        return opened

    made._plan = replace(plan, renew=fails)
    await made.restart()
    assert (made.snapshot().state, made.snapshot().run, made.snapshot().step) == ("failed", "home-2", 0)
    assert made.to_resume() == "home-1"
    question = restart(made.snapshot(), resumes=True)
    assert question is not None
    assert question.detail == "A new one goes on from where this one was to."
    await made.restart()
    assert "launch home-1" in sessions[-1].calls

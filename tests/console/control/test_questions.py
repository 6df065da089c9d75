"""A question is about how things are now: it is asked anew, or closed, when they change while it is on the screen."""

from __future__ import annotations

from typing import Any

from textual.pilot import Pilot

from motley.console.control.session_protocol import Outcome
from motley.console.tui.app import MotleyApp
from motley.console.tui.screens.confirm import Confirm
from motley.remote.feed import Ended
from tests.console import scripted
from tests.console.screen import SIZE, make, running, screen_text, until
from tests.console.scripted import START


async def asked(app: MotleyApp, pilot: Pilot[Outcome], key: str, words: str) -> None:
    await pilot.press(key)
    await until(app, pilot, lambda: isinstance(app.screen, Confirm) and words in screen_text(app))


async def test_leaving_before_the_start_is_asked_no_more_once_the_run_has_started() -> None:
    """What it promises, that no rank is left on a host, can't be kept any more without a stop of the run."""
    app, sessions = make(launch_blocks=True)
    async with app.run_test(size=SIZE) as pilot:
        await until(app, pilot, lambda: bool(sessions) and app.life.snapshot().phase == "starting")
        await asked(app, pilot, "q", "Leave before the run has started?")
        app.life._on_hosts = True  # `launch` has come back
        await until(app, pilot, lambda: not isinstance(app.screen, Confirm))
        assert "things have changed" in screen_text(app)
        assert app.return_value is None


async def test_a_yes_that_comes_with_the_change_answers_nothing() -> None:
    app, sessions = make(launch_blocks=True)
    async with app.run_test(size=SIZE) as pilot:
        await until(app, pilot, lambda: bool(sessions) and app.life.snapshot().phase == "starting")
        await asked(app, pilot, "q", "Leave before the run has started?")
        app.paint = lambda: None  # type: ignore[method-assign]  # the key comes before the screen is painted again
        app.life._on_hosts = True
        await pilot.press("y")
        await pilot.pause()
        assert app.return_value is None
        assert "stop left before it started" not in sessions[0].calls


async def test_a_yes_to_leaving_before_the_start_stops_what_has_started_since() -> None:
    """Between the answer and its doing."""
    app, sessions = make()
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
        from motley.console.control import questions

        await app.life.leave(answered=questions.BEFORE_START)
    assert "stop left before it started" in sessions[0].calls


async def test_the_question_whether_to_stop_closes_with_the_end_of_the_run() -> None:
    app, sessions = make()
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
        await asked(app, pilot, "x", "Stop the run?")
        end: Any = Ended(state="finished", summary=scripted.summary("home-1"))
        app.life.store.apply(end, START)
        await until(app, pilot, lambda: not isinstance(app.screen, Confirm))
    assert not any(call.startswith("stop") for call in sessions[0].calls)


async def test_the_question_whether_to_restart_says_what_is_so_by_now() -> None:
    app, _ = make()
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
        await asked(app, pilot, "r", "The run is stopped on every host.")
        app.life.store.apply(Ended(state="stopped", summary=scripted.summary("home-1", "stopped")), START)
        await until(app, pilot, lambda: "is stopped on every host" not in screen_text(app))
        assert "goes on from its last step" in screen_text(app)
        assert isinstance(app.screen, Confirm)

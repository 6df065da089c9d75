"""The whole app on a scripted run whose hosts take their time: leaving while it is stopped, and while it closes."""

from __future__ import annotations

import asyncio

from motley.console.tui.screens.confirm import Confirm
from motley.remote.feed import Ended
from tests.console.screen import SIZE, make, phase, running, screen_text, until
from tests.console.scripted import Scripted


def slow_to_stop(session: Scripted) -> asyncio.Event:
    """Its hosts answer a stop once the event is set."""
    answer, stop = asyncio.Event(), session.stop

    async def slowly(reason: str) -> Ended:
        session.calls.append("hosts are told")
        await answer.wait()
        return await stop(reason)

    session.stop = slowly  # type: ignore[method-assign]
    return answer


async def test_q_during_a_stop_ends_it_with_a_yes_alone() -> None:
    app, sessions = make()
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
        answer = slow_to_stop(sessions[0])
        await pilot.press("x")
        await until(app, pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(app, pilot, lambda: "hosts are told" in sessions[0].calls)
        await pilot.press("q")
        await until(app, pilot, lambda: isinstance(app.screen, Confirm))
        assert "Leave while the run is being stopped?" in screen_text(app)
        answer.set()
        await until(app, pilot, lambda: phase(app) == "ended")
        assert sessions[0].calls == ["launch", "hosts are told", "stop x in the console"]
        await until(app, pilot, lambda: not isinstance(app.screen, Confirm))
        await pilot.press("q")
    assert app.return_value is not None
    assert app.return_value.code == 4


async def test_keys_while_the_console_closes_change_nothing() -> None:
    app, sessions = make()
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
        closes, closed = asyncio.Event(), sessions[0].close

        async def slowly() -> None:
            sessions[0].calls.append("closes")
            await closes.wait()
            await closed()

        sessions[0].close = slowly  # type: ignore[method-assign]
        await pilot.press("q")
        await until(app, pilot, lambda: "closes" in sessions[0].calls)
        await pilot.press("q", "x", "s")
        await pilot.pause()
        assert not isinstance(app.screen, Confirm)
        closes.set()
    assert sessions[0].calls == ["launch", "closes", "close"]
    assert app.return_value is not None
    assert app.return_value.data == {"run": "home-1", "state": "running"}

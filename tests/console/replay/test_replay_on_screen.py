"""A replay on the console's screen: what it says of itself, and its keys."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from motley.console.commands.after_run.replay import replay_plan
from motley.console.report.past_run import PastRun
from motley.console.tui.app import MotleyApp
from tests.console.replay.recorded import folder
from tests.console.screen import screen_text, until


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
def test_a_stranger_sees_that_it_is_a_replay_and_its_keys_work(size: tuple[int, int], tmp_path: Path) -> None:
    past = PastRun.open(folder(tmp_path / "night"))

    async def through() -> None:
        app = MotleyApp(replay_plan(past, at=40))
        async with app.run_test(size=size) as pilot:
            await until(app, pilot, lambda: app.life.snapshot().step >= 40)
            await pilot.press("space")
            app.paint()
            shown = screen_text(app)
            assert " REPLAY " in shown.splitlines()[0]
            assert "held" in shown.splitlines()[0]
            assert "of 0:0" in shown.splitlines()[0]
            footer = shown.splitlines()[-1]
            assert "space pause" in footer
            assert ". step" in footer
            assert "stop" not in footer
            step = app.life.snapshot().step
            await pilot.press("full_stop")
            assert app.life.snapshot().step == step + 1
            await pilot.press("comma", "comma")
            assert app.life.snapshot().step == step - 1
            await pilot.press("plus")
            playback = app.life.snapshot().playback
            assert playback is not None
            assert (playback.speed, playback.paused) == (2.0, True)
            await pilot.press("5")
            assert 25 <= app.life.snapshot().step <= 35
            for key in ("x", "s", "r", "c", "j"):
                await pilot.press(key)
                app.paint()
                assert "this is a replay: no host is asked" in screen_text(app).splitlines()[-1]
            await pilot.press("q")
        assert app.return_value is not None
        assert app.return_value.code == 0

    asyncio.run(through())

"""What a model answers has a panel in the console, under `a`: at each size, and while somebody reads it."""

from __future__ import annotations

import pytest

from motley.console.tui.app import MotleyApp
from motley.console.tui.widgets.panels import AnswerPanel
from tests.console import language_model
from tests.console.language_model import evaluated
from tests.console.screen import SIZE, make, running, screen_text, until
from tests.console.scripted import START


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
async def test_a_shows_the_answers_l_the_log_again(size: tuple[int, int]) -> None:
    app, _ = make(steps=60)
    async with app.run_test(size=size) as pilot:
        await running(app, pilot)
        await pilot.press("a")
        await until(app, pilot, lambda: "a answers: none yet" in screen_text(app))
        for step in range(61, 85):
            for member in range(4):
                app.life.store.apply(language_model.with_tokens(step, member), START)
        for epoch in (1, 2):
            for record in evaluated(epoch, step=24 * epoch, loss=3.0 - epoch / 10):
                app.life.store.apply(record, START)
        await pilot.press("a")
        await until(app, pilot, lambda: "? What is gradient accumulation?" in screen_text(app))
        shown = screen_text(app)
        for word in ("answers  2 evaluations", "epoch 2, step 48   held-out 2.800  perplexity 16.44",
                     "Adding up gradients, says epoch 2.", ">     y = x + x", "(nothing)", "tokens/s"):  # fmt: skip
            assert word in shown, shown
        assert ("throughput" in shown) == (size == (200, 50))
        await pilot.press("l")
        await until(app, pilot, lambda: "throughput" in screen_text(app))
        assert "? What is gradient accumulation?" not in screen_text(app)


def lines(app: MotleyApp) -> list[str]:
    """Of the panel, without its scrollbar."""
    return [line[:70].rstrip() for line in screen_text(app).splitlines()[4:20]]


async def test_who_reads_an_older_answer_stays_there_when_a_new_one_comes() -> None:
    app, _ = make()
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
        for epoch in range(1, 9):
            for record in evaluated(epoch, step=24 * epoch, loss=3.0):
                app.life.store.apply(record, START)
        await pilot.press("a", "z")
        await until(app, pilot, lambda: "epoch 8, step 192" in screen_text(app))
        await pilot.press("pagedown")
        await until(app, pilot, lambda: "epoch 8, step 192" not in screen_text(app))
        panel = app.main.query_one(AnswerPanel)
        await until(app, pilot, lambda: panel.scroll_y == panel.scroll_target_y)
        before = lines(app)
        for record in evaluated(9, step=216, loss=3.0):
            app.life.store.apply(record, START)
        await until(app, pilot, lambda: "9 evaluations" in screen_text(app))
        assert lines(app) == before
        await pilot.press("home")
        await until(app, pilot, lambda: "epoch 9, step 216" in screen_text(app))

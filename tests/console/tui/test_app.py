"""The whole app on a scripted run, the screen read as text: what it shows, and the keys that change that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from motley.console.state.snapshot import Snapshot
from motley.console.tui.screens.help import Help, help_lines
from motley.console.tui.widgets.panels import DecisionPanel
from motley.console.view.figures import TIMES
from motley.console.view.key_bindings import KEYS, footer_line, markdown, reason
from motley.console.view.styled_line import text
from tests.console import scripted
from tests.console.screen import SIZE, make, running, screen_text, until
from tests.console.scripted import START


@pytest.mark.parametrize("size", [(80, 24), (50, 20), (120, 30), (200, 50)])
async def test_the_first_screen_holds_everything_at_each_size(size: tuple[int, int]) -> None:
    app, _ = make()
    async with app.run_test(size=size) as pilot:
        await running(app, pilot)
        shown = screen_text(app)
        for word in ("● running", "step 60", "desktop", "box2", "throughput", "loss", "log", "q leave"):
            assert word in shown, shown
        assert ("decisions  2" in shown) == (size[0] >= 120)
        assert max(len(line) for line in shown.splitlines()) <= size[0]


@pytest.mark.parametrize("size", [(40, 10), (50, 12), (60, 16), (60, 17)])
async def test_a_low_terminal_shows_the_state_on_top_and_the_keys_below(size: tuple[int, int]) -> None:
    app, _ = make()
    async with app.run_test(size=size) as pilot:
        await running(app, pilot)
        lines = screen_text(app).splitlines()
        assert "● running" in lines[0], lines
        assert "q leave" in lines[-1], lines
        assert any("desktop" in line for line in lines), lines
        app.life.store.apply(replace(scripted.event("note", "no disk is left", level="error")), START)
        await until(app, pilot, lambda: "no disk is left" in screen_text(app))
        assert "● running" in screen_text(app).splitlines()[0]


async def test_the_clock_may_strike_once_more_while_the_app_closes() -> None:
    """Its screens are gone by then, its timer is not."""
    app, _ = make()
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
    assert app.screen_stack == []
    app.paint()


async def test_advice_takes_a_line_from_the_charts_and_hides_nothing() -> None:
    app, _ = make()
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
        advice = "leave out box2: with it 196 samples/s, without it about 254"
        record = replace(scripted.event("advice", advice, level="warning"), data={"host": "box2"})
        app.life.store.apply(record, START)
        await until(app, pilot, lambda: f"▶ {advice}" in screen_text(app))
        shown = screen_text(app)
        for word in ("● running", "step 60", "desktop", "box2", "throughput", "log", "q leave"):
            assert word in shown, shown


async def test_help_lists_every_key_and_esc_closes_it() -> None:
    app, _ = make()
    async with app.run_test(size=(110, 60)) as pilot:
        await running(app, pilot)
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, Help)
        shown, live = screen_text(app), [key for key in KEYS if not key.replay]
        assert all(key.name.split()[0] in shown and key.help.split(".")[0][:30] in shown for key in live), shown
        await pilot.press("escape")
        assert not isinstance(app.screen, Help)


async def test_a_console_that_only_watches_has_no_key_that_changes_the_run() -> None:
    app, sessions = make(attach=True, readonly=True)
    async with app.run_test(size=(110, 60)) as pilot:
        await running(app, pilot)
        assert "read-only" in screen_text(app)
        for key in (key for key in KEYS if key.acts):
            assert f"{key.name} {key.label}" not in screen_text(app).splitlines()[-1]
            await pilot.press(key.key)
            await until(app, pilot, lambda: "this console only watches" in screen_text(app))
            app._hint = ("", 0.0)
            app.paint()
            await pilot.pause()
        assert "q leave" in screen_text(app).splitlines()[-1]
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, Help)
        assert not any(key.help.split(".")[0][:30] in screen_text(app) for key in KEYS if key.acts)
        await pilot.press("escape", "q")
    assert sessions[0].calls == ["attach", "close"]
    assert app.return_value is not None
    assert app.return_value.data == {"run": "home-1", "state": "running"}


async def test_freeze_holds_the_screen_while_the_records_go_on() -> None:
    app, _ = make(steps=30)
    async with app.run_test(size=SIZE) as pilot:
        await until(app, pilot, lambda: app.life.snapshot().step == 30)
        await pilot.press("space")
        for member in range(4):
            app.life.store.apply(scripted.sample(31, member), START)
        app.paint()
        await pilot.pause()
        assert "screen held" in screen_text(app)
        assert "step 30/" in screen_text(app)
        await pilot.press("space")
        await pilot.pause()
        assert "screen held" not in screen_text(app)
        assert "step 31/" in screen_text(app)


async def test_d_and_l_change_the_lower_panel_and_z_enlarges_it_until_esc() -> None:
    app, _ = make()
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
        await pilot.press("d")
        await pilot.pause()
        assert "need 2.4 ms a sample" in screen_text(app)
        await pilot.press("l", "z")
        await pilot.pause()
        zoomed = screen_text(app)
        assert "throughput" not in zoomed
        assert "generation 0: 4 ranks, gloo" in zoomed
        await pilot.press("escape")
        await pilot.pause()
        assert "throughput" in screen_text(app)


async def test_a_scrollbar_hides_no_end_of_a_line() -> None:
    """More decisions than fit: the scrollbar takes a column, and the lines are as much shorter."""
    app, sessions = make()
    async with app.run_test(size=(200, 50)) as pilot:
        await running(app, pilot)
        for step in range(61, 91):
            before, after = [64, 64, 64, 64], [64 + step % 7, 64 - step % 7, 64, 64]
            decision = scripted.event(
                "decision", "", step=step, before=before, after=after, why="laptop became slower", current_ms=214.0,
                predicted_ms=141.0, noise_ms=2.0,
            )  # fmt: skip
            sessions[0]._emit(decision)
        decisions = app.screen.query_one("#decisions", DecisionPanel)
        await until(app, pilot, lambda: decisions.show_vertical_scrollbar)
        shown = [line for line in screen_text(app).splitlines() if "214 → 141 ms" in line]
        assert len(shown) >= 3
        assert all("214 → 141 ms predicted" in line for line in shown)


@pytest.mark.parametrize(("width", "gain"), [(200, "2.5 against equal shares, 1:40 saved so far"), (120, "2.5")])
async def test_the_title_of_the_decisions_says_what_fits_and_is_not_cut(width: int, gain: str) -> None:
    app, sessions = make()
    async with app.run_test(size=(width, 50)) as pilot:
        await running(app, pilot)
        for member in range(4):
            sessions[0]._emit(scripted.sample(61, member, gain=2.5, saved_s=100.0))
        await until(app, pilot, lambda: "2.5 against" in screen_text(app))
        app.paint()
        await pilot.pause()
        assert f"─decisions  2  \u2248 {TIMES}{gain}─" in screen_text(app), screen_text(app)


async def test_the_log_stays_where_it_was_scrolled_to_and_end_follows_again() -> None:
    app, _ = make()
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
        await pilot.press("l", "home")
        await until(app, pilot, lambda: "End follows again" in screen_text(app))
        app.life.store.note("something new", START)
        app.paint()
        await pilot.pause()
        assert "connected, host key known" in screen_text(app)
        assert "something new" not in screen_text(app)
        await pilot.press("end")
        await until(app, pilot, lambda: "something new" in screen_text(app))


async def test_a_smaller_terminal_still_follows_the_log() -> None:
    app, _ = make()
    async with app.run_test(size=(80, 40)) as pilot:
        await running(app, pilot)
        await pilot.resize_terminal(70, 20)
        app.life.store.note("something new", START)
        await until(app, pilot, lambda: "something new" in screen_text(app))
        assert "scrolled up" not in screen_text(app)


async def test_markup_in_a_ranks_output_is_shown_as_it_is() -> None:
    app, _ = make()
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
        app.life.store.note("[red]not markup[/] [1, 2]", START)
        app.paint()
        await pilot.pause()
        assert "[red]not markup[/] [1, 2]" in screen_text(app)


async def test_t_changes_between_dark_and_light() -> None:
    app, _ = make()
    async with app.run_test(size=SIZE) as pilot:
        before = app.current_theme.dark
        await pilot.press("t")
        assert app.current_theme.dark is not before


def test_every_disabled_key_has_a_reason_and_the_footer_fits() -> None:
    for snapshot in (Snapshot(), Snapshot(phase="running"), Snapshot(phase="stopping"), Snapshot(phase="ended")):
        for key in KEYS:
            assert reason(key, snapshot) != ""
        for width in (50, 80, 120):
            line = text(footer_line(snapshot, width=width))
            assert len(line) <= width
            assert "q leave" in line
            assert "x stop" in line


def test_help_fits_its_width() -> None:
    assert max(len(text(line)) for line in help_lines(60)) <= 60


def test_docs_list_every_key() -> None:
    docs = Path(__file__).parents[3] / "docs" / "keys.md"
    assert markdown() in docs.read_text(encoding="utf-8")


@pytest.mark.parametrize("size", [(20, 4), (30, 8)])
async def test_a_terminal_that_is_too_small_says_so_and_its_keys_work(size: tuple[int, int]) -> None:
    app, _ = make()
    async with app.run_test(size=size) as pilot:
        await until(app, pilot, lambda: "too small" in screen_text(app))
        shown = " ".join(screen_text(app).split())
        assert f"too small: {size[0]}x{size[1]}, needs 40x10" in shown
        assert "q leaves" in shown
        await pilot.resize_terminal(80, 24)
        await until(app, pilot, lambda: "● running" in screen_text(app))
        assert "too small" not in screen_text(app)
        await pilot.press("q")
    assert app.return_value is not None

"""The whole app on a scripted run: every key pressed, the screen read as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Button

from console.app import MotleyApp
from console.keys import KEYS, footer_line, markdown, reason
from console.line import text
from console.screens.confirm import Confirm
from console.screens.help import Help, help_lines
from console.session import Outcome
from console.snapshot import Snapshot
from console.widgets.panels import DecisionPanel
from remote.errors import CheckFailed, ConfigError, NewKey, RunFailed
from tests.console import scripted
from tests.console.scripted import START, Scripted

SIZE = (80, 24)


def screen_text(app: MotleyApp) -> str:
    """What the terminal shows, without colours."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips)


async def until(app: MotleyApp, pilot: Pilot[Outcome], condition: Callable[[], bool]) -> None:
    """Let the app go on until it gets there; the bound is in messages, not seconds."""
    for _ in range(200):
        await pilot.pause()
        if condition():
            app.paint()
            await pilot.pause()
            return
    raise AssertionError(f"never got there:\n{screen_text(app)}")


def phase(app: MotleyApp) -> str:
    return app.life.snapshot().phase


async def running(app: MotleyApp, pilot: Pilot[Outcome]) -> None:
    await until(app, pilot, lambda: app.life.snapshot().step >= 60)


def make(**options: Any) -> tuple[MotleyApp, list[Scripted]]:
    plan, sessions = scripted.plan(**{"hold": True, "steps": 60, **options})
    return MotleyApp(plan, clock=lambda: START), sessions


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
        shown = screen_text(app)
        assert all(key.name.split()[0] in shown and key.help.split(".")[0][:30] in shown for key in KEYS), shown
        await pilot.press("escape")
        assert not isinstance(app.screen, Help)


async def test_stop_asks_with_no_as_default_and_enter_changes_nothing() -> None:
    app, sessions = make()
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
        await pilot.press("x")
        await until(app, pilot, lambda: isinstance(app.screen, Confirm))
        focused = app.screen.focused
        assert isinstance(focused, Button)
        assert focused.id == "no"
        await pilot.press("enter")
        await until(app, pilot, lambda: not isinstance(app.screen, Confirm))
        assert phase(app) == "running"
        assert sessions[0].calls == ["launch"]


async def test_a_host_key_that_nobody_knows_is_asked_about_with_no_as_default() -> None:
    key = NewKey(host="box2", name="[10.0.0.2]:2222", fingerprint="SHA256:abc (ssh-ed25519)", line="")
    app, sessions = make(new_key=key)
    async with app.run_test(size=SIZE) as pilot:
        await until(app, pilot, lambda: isinstance(app.screen, Confirm))
        shown = screen_text(app)
        assert "Is this the key of box2 ([10.0.0.2]:2222)?" in shown
        assert "SHA256:abc" in shown
        await pilot.press("enter")
        await until(app, pilot, lambda: phase(app) == "ended")
        assert "accept it: ssh box2 true" in screen_text(app)
        await pilot.press("s")
        await until(app, pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await running(app, pilot)
        assert [session.calls for session in sessions] == [["launch", "close"], ["launch"]]


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


async def test_stop_confirmed_ends_the_run_with_a_summary_and_exit_code_4() -> None:
    app, sessions = make()
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
        await pilot.press("x")
        await until(app, pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(app, pilot, lambda: phase(app) == "ended")
        assert "stop x in the console" in sessions[0].calls
        shown = screen_text(app)
        assert "■ stopped" in shown
        assert "summary" in shown
        assert "saved in experiments/home-1" in shown
        await pilot.press("q")
    assert app.return_value is not None
    assert app.return_value.code == 4
    assert app.return_value.data == scripted.summary("home-1", "stopped", steps=60)


async def test_a_warm_restart_puts_a_new_run_in_the_place_of_the_old_one() -> None:
    app, sessions = make(cold="")
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
        await pilot.press("r")
        await until(app, pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("right", "enter")
        await until(app, pilot, lambda: app.life.snapshot().run == "home-2" and app.life.snapshot().step == 60)
        assert sessions[0].calls == ["launch", "stop restart as home-2", "close"]
        assert sessions[1].calls == ["take over home-1 from home-1"]
        assert phase(app) == "running"
        await pilot.press("q")
    assert app.return_value is not None
    assert app.return_value.data == {"run": "home-2", "state": "running"}


async def test_a_cold_restart_says_why_and_goes_on_from_the_run_that_it_stopped() -> None:
    app, sessions = make()
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
        await pilot.press("r")
        await until(app, pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("right", "enter")
        await until(app, pilot, lambda: len(sessions) == 2 and app.life.snapshot().step == 60)
        assert sessions[0].calls == ["launch", "stop r in the console", "close"]
        assert sessions[1].calls == ["take over home-1 from home-1", "launch home-1"]
        assert "home-2" in screen_text(app)
        assert any(entry.text == "cold restart: the code has changed" for entry in app.life.store.log())


async def test_restarting_a_finished_run_begins_from_the_first_step() -> None:
    app, sessions = make(hold=False)
    async with app.run_test(size=SIZE) as pilot:
        await until(app, pilot, lambda: phase(app) == "ended")
        await pilot.press("r")
        await until(app, pilot, lambda: isinstance(app.screen, Confirm))
        assert "A new one starts from step 1." in screen_text(app)
        await pilot.press("right", "enter")
        await until(app, pilot, lambda: len(sessions) == 2 and phase(app) == "ended")
        assert sessions[1].calls[:1] == ["launch"]


async def test_leaving_closes_the_session_only_and_says_how_to_come_back() -> None:
    app, sessions = make()
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
        await pilot.press("q")
    assert sessions[0].calls == ["launch", "close"]
    assert app.return_value == Outcome(
        code=0,
        data={"run": "home-1", "state": "running"},
        text="home-1 goes on. Come back: motley attach home-1",
    )


async def test_leaving_before_the_start_asks_and_then_stops_what_has_begun() -> None:
    app, sessions = make(launch_blocks=True)
    async with app.run_test(size=SIZE) as pilot:
        await until(app, pilot, lambda: bool(sessions) and phase(app) == "starting")
        await pilot.press("q")
        await until(app, pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("n")
        await until(app, pilot, lambda: not isinstance(app.screen, Confirm))
        assert "close" not in sessions[0].calls
        await pilot.press("q")
        await until(app, pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await pilot.pause()
    assert sessions[0].calls == ["launch", "stop left before it started", "close"]
    assert app.return_value is not None
    assert app.return_value.code == 4


async def test_keys_without_effect_say_why() -> None:
    app, sessions = make()
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
        await pilot.press("s")
        assert "s start: the run is on already" in screen_text(app)
        await pilot.press("d")
        assert "s start: the run" not in screen_text(app)
    assert sessions[0].calls == ["launch"]


async def test_nothing_starts_before_s_when_asked_not_to() -> None:
    app, sessions = make(start=False)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert sessions == []
        assert "Nothing runs. s starts" in screen_text(app)
        await pilot.press("x")
        assert "x stop: nothing runs" in screen_text(app)
        await pilot.press("s")
        await running(app, pilot)
        assert sessions[0].calls == ["launch"]


async def test_pause_holds_the_screen_while_the_records_go_on() -> None:
    app, _ = make(steps=30)
    async with app.run_test(size=SIZE) as pilot:
        await until(app, pilot, lambda: app.life.snapshot().step == 30)
        await pilot.press("space")
        for member in range(4):
            app.life.store.apply(scripted.sample(31, member), START)
        app.paint()
        await pilot.pause()
        assert "paused" in screen_text(app)
        assert "step 30/" in screen_text(app)
        await pilot.press("space")
        await pilot.pause()
        assert "paused" not in screen_text(app)
        assert "step 31/" in screen_text(app)


async def test_ctrl_c_quits_nothing_and_says_what_does() -> None:
    app, _ = make()
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
        await pilot.press("ctrl+c")
        await pilot.pause()
        assert "q leaves (the run goes on), x stops the run" in screen_text(app)
        assert app.is_running


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


async def test_the_log_stays_where_it_was_scrolled_to_and_end_follows_again() -> None:
    app, _ = make()
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
        await pilot.press("l", "home")
        await pilot.pause(0.05)
        app.life.store.note("something new", START)
        app.paint()
        await pilot.pause()
        assert "connected, host key known" in screen_text(app)
        assert "End follows again" in screen_text(app)
        await pilot.press("end")
        await pilot.pause(0.05)
        app.paint()
        await pilot.pause()
        assert "something new" in screen_text(app)


async def test_a_smaller_terminal_still_follows_the_log() -> None:
    app, _ = make()
    async with app.run_test(size=(80, 40)) as pilot:
        await running(app, pilot)
        await pilot.resize_terminal(70, 20)
        app.life.store.note("something new", START)
        await until(app, pilot, lambda: "something new" in screen_text(app))
        assert "scrolled up" not in screen_text(app)


async def test_findings_of_the_check_are_shown_with_remedies_and_end_in_code_3() -> None:
    app, _ = make(fail=CheckFailed(scripted.FINDINGS))
    async with app.run_test(size=SIZE) as pilot:
        await until(app, pilot, lambda: phase(app) == "ended")
        shown = screen_text(app)
        assert "what went wrong" in shown
        assert "✖ laptop: its key is not in known_hosts" in shown
        assert "→ On box2: python3 -m pip install torch" in shown
        assert "Traceback" not in shown
        await pilot.press("q")
    assert app.return_value is not None
    assert app.return_value.code == 3


@pytest.mark.parametrize(
    ("error", "said", "code"),
    [
        (RunFailed("box1: the supervisor ended at once"), "the supervisor ended at once", 1),
        (ConfigError("cluster.toml", ["[run] epochs: is -1"]), "[run] epochs: is -1", 2),
    ],
)
async def test_a_start_that_fails_says_why_and_s_tries_again(error: Exception, said: str, code: int) -> None:
    app, sessions = make(fail=error)
    async with app.run_test(size=SIZE) as pilot:
        await until(app, pilot, lambda: phase(app) == "ended")
        assert said in screen_text(app)
        await pilot.press("s")
        await until(app, pilot, lambda: len(sessions) == 2 and phase(app) == "ended")
        await pilot.press("q")
    assert app.return_value is not None
    assert app.return_value.code == code


async def test_an_unexpected_error_is_shown_and_its_traceback_kept(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    app, _ = make(fail=ZeroDivisionError("division by zero"))
    async with app.run_test(size=SIZE) as pilot:
        await until(app, pilot, lambda: phase(app) == "ended")
        assert "unexpected ZeroDivisionError" in screen_text(app)
    assert "scripted.py" in (tmp_path / ".motley" / "console.log").read_text()


async def test_attach_shows_the_run_and_q_leaves_it_running() -> None:
    app, sessions = make(attach=True)
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
        assert "● running" in screen_text(app)
        await pilot.press("q")
    assert sessions[0].calls == ["attach", "close"]
    assert app.return_value is not None
    assert app.return_value.data == {"run": "home-1", "state": "running"}


async def test_a_finished_run_leaves_with_its_summary() -> None:
    app, _ = make(hold=False)
    async with app.run_test(size=SIZE) as pilot:
        await until(app, pilot, lambda: phase(app) == "ended")
        assert "✔ finished" in screen_text(app)
        await pilot.press("q")
    assert app.return_value is not None
    assert (app.return_value.code, app.return_value.data) == (0, scripted.summary("home-1", steps=60))


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
    docs = Path(__file__).parents[2] / "docs" / "keys.md"
    assert markdown() in docs.read_text(encoding="utf-8")

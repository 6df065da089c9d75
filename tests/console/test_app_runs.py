"""The whole app on a scripted run: starting, stopping, restarting, leaving and coming back."""

from __future__ import annotations

from typing import Any

import pytest
from textual.widgets import Button

from motley.console.control.session_protocol import Outcome
from motley.console.tui.screens.confirm import Confirm
from motley.console.view.key_bindings import footer_line
from motley.console.view.styled_line import text
from motley.remote.errors import CheckFailed, ConfigError, NewKey, RunFailed
from tests.console import scripted
from tests.console.screen import SIZE, make, phase, running, screen_text, until


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


async def test_a_mistake_in_cluster_toml_costs_no_run_when_it_is_to_be_restarted() -> None:
    app, sessions = make(no_more=ConfigError("cluster.toml", ["cluster.toml:3: run.epoks is unknown"]))
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
        await pilot.press("r")
        await until(app, pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("right", "enter")
        await until(app, pilot, lambda: "goes on as it was" in " ".join(e.text for e in app.life.store.log()))
        assert any("run.epoks is unknown" in entry.text for entry in app.life.store.log())
        assert (phase(app), sessions[0].calls) == ("running", ["launch"])
        await pilot.press("x")
        await until(app, pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(app, pilot, lambda: phase(app) == "ended")
        assert sessions[0].calls[1] == "stop x in the console"
        assert "■ stopped" in screen_text(app)


async def test_c_has_a_checkpoint_written_and_says_where_it_is() -> None:
    app, sessions = make()
    async with app.run_test(size=(80, 24)) as pilot:
        await running(app, pilot)
        assert "c checkpoint" in text(footer_line(app.life.snapshot(), width=120))
        await pilot.press("c")
        await until(
            app, pilot, lambda: "checkpoint of step 240: checkpoints/step_240.pt on desktop" in screen_text(app)
        )
        sessions[0].refuses = RunFailed("desktop: step_9.pt can't be written (No space left on device)")
        await pilot.press("c")
        await until(app, pilot, lambda: "no checkpoint: desktop: step_9.pt can't be written" in screen_text(app))
        assert [call for call in sessions[0].calls if call == "checkpoint"] == ["checkpoint"] * 2
        assert phase(app) == "running"
        await pilot.press("x")
        await until(app, pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(app, pilot, lambda: phase(app) == "ended")
        await pilot.press("c")
        await until(app, pilot, lambda: "c checkpoint: no run trains" in screen_text(app))


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
        text="'home-1' goes on. Come back: motley attach home-1",
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


async def test_ctrl_c_quits_nothing_and_says_what_does() -> None:
    app, _ = make()
    async with app.run_test(size=SIZE) as pilot:
        await running(app, pilot)
        await pilot.press("ctrl+c")
        await pilot.pause()
        assert "q leaves (the run goes on), x stops the run" in screen_text(app)
        assert app.is_running


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

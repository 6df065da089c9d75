"""The summary at the end of a run: what is of this run alone and what is of all, and shares that add up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from motley.console.state.snapshot import Snapshot
from motley.console.view.notice import notice_lines
from motley.console.view.styled_line import text
from tests.console import scripted


def lines(**changes: Any) -> list[str]:
    summary = {**scripted.summary("home-1"), **changes}
    return [text(line) for line in notice_lines(Snapshot(phase="ended", state="finished", summary=summary), width=120)]


def test_a_run_that_went_on_from_another_one_tells_its_own_steps_beside_its_own_time() -> None:
    assert "steps 3,708   " in lines(steps=3708)[0]
    assert "steps 53 more, 3,708 in all   " in lines(steps=3708, steps_before=3655, resumed_from="first")[0]


def test_shares_add_up_to_all_of_it() -> None:
    hosts = [{"name": name, "share": share} for name, share in (("h1", 0.504), ("h2", 0.272), ("h3", 0.224))]
    assert lines(hosts=hosts)[-1] == "shares h1 50 %, h2 27 %, h3 23 %"
    assert not any(line.startswith("shares") for line in lines(hosts=[{"name": "h1", "share": None}]))


def test_a_script_has_no_steps_of_ours() -> None:
    shown = Snapshot(phase="ended", state="finished", script=True, summary={"seconds": 61.0, "steps": 0})
    assert text(notice_lines(replace(shown), width=80)[0]) == "time 1:01   restarts 0"


def test_what_the_leader_did_not_tell_is_taken_from_what_was_heard() -> None:
    unknown = dict.fromkeys(("steps", "seconds", "samples_per_s", "final_loss", "rebalances"))
    hosts = [{"name": "h1", "ranks": None, "share": None, "samples_per_s": None, "state": "lost"}]
    heard = Snapshot(phase="ended", state="stopped", step=812, started=1000.0, ended=1090.0, loss=0.25)
    shown = [text(line) for line in notice_lines(replace(heard, summary={**unknown, "hosts": hosts}), width=120)]
    assert "steps 812 " in shown[0]
    assert "time 1:30 " in shown[0]
    assert len(shown) == 1


def test_a_path_that_is_too_long_ends_with_an_ellipsis() -> None:
    folder = f"/home/ada/{'deep/' * 20}experiments/night"
    shown = Snapshot(phase="ended", state="finished", summary=scripted.summary("night"))
    last = text(notice_lines(shown, width=80, folder=folder)[-1])
    assert last.startswith("saved in /home/ada/deep/")
    assert last.endswith("…")
    assert len(last) == 80

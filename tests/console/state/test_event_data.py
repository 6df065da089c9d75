"""What of an event is a problem on the screen."""

from __future__ import annotations

from typing import Any

import pytest

from motley.console.state.event_data import problem_of
from motley.console.state.snapshot import Snapshot
from motley.console.view.notice import notice_lines
from motley.console.view.styled_line import text
from motley.trainer.contract.wire import Event

COMMAND = "motley run --resume night@step_6 --set run.learning_rate=0.02"


def diverged(level: Any, *, stops: bool) -> Event:
    data = {"cause": "the loss has blown up", "remedy": f"{COMMAND} goes on from step 6", "stops": stops}
    return Event(time=1.0, host="box1", source="rank 0", kind="diverged", text="", level=level, data=data)


@pytest.mark.parametrize(("level", "sign"), [("warning", "!"), ("error", "✖")])
def test_a_loss_that_is_not_sound_is_in_the_notice_with_the_command_that_goes_on(level: Any, sign: str) -> None:
    problem = problem_of(diverged(level, stops=False))
    assert problem is not None
    shown = [text(line) for line in notice_lines(Snapshot(problems=(problem,), phase="running"), width=120)]
    assert shown == [f"{sign} the loss has blown up", f"  → {COMMAND} goes on from step 6"]


def test_where_it_ends_the_run_the_rank_that_failed_tells_it() -> None:
    assert problem_of(diverged("error", stops=True)) is None

"""The header of a script that knows nothing of us: its figures, whose output they are from, how old they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from motley.console.state.snapshot import ReadFigures, Snapshot
from motley.console.view.figures import NONE
from motley.console.view.run_lines import run_lines
from motley.console.view.styled_line import text, width_of

READ = ReadFigures(
    member=0, host="desktop", step=120, steps_total=1000, epoch=0.5, loss=2.3125, steps_per_s=12.34, at=100.0
)
SCRIPT = Snapshot(phase="running", run="night", task="train.py", script=True, read=READ, started=0.0)


def shown(snapshot: Snapshot, *, width: int = 100, now: float = 100.5) -> list[str]:
    return [text(line) for line in run_lines(snapshot, width=width, now=now)]


def test_step_loss_and_rate_are_shown_with_where_they_are_from() -> None:
    _, progress, figures, *_ = shown(SCRIPT)
    assert progress.endswith("  step 120/1,000  12 %  epoch 0.5  ETA 1:11")
    assert figures == "loss 2.312   12.3 steps/s   read from desktop's output"


def test_with_an_interval_of_the_script_s_own_the_age_is_told() -> None:
    assert shown(SCRIPT, now=145.0)[2].endswith("read from desktop's output, 45 s ago")


def test_what_is_not_known_is_not_shown() -> None:
    read = replace(READ, steps_total=None, epoch=None, loss=None, steps_per_s=None)
    _, progress, figures, *_ = shown(replace(SCRIPT, read=read))
    assert progress.endswith("  step 120")
    assert figures == f"{NONE} steps/s   read from desktop's output"


def test_before_the_first_figure_and_of_a_script_that_tells_none_it_says_what_runs() -> None:
    assert shown(replace(SCRIPT, read=None))[2] == "the script train.py runs"
    assert (
        shown(replace(SCRIPT, read=None, phase="ended", restarts=1))[2]
        == "the script train.py ran, started anew 1 time"
    )


@pytest.mark.parametrize("width", [30, 40, 60, 80, 200])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    for snapshot in (SCRIPT, replace(SCRIPT, restarts=3), replace(SCRIPT, phase="ended", ended=200.0)):
        assert all(width_of(line) <= width for line in run_lines(snapshot, width=width, now=300.0))
    assert "loss 2.312" in shown(SCRIPT, width=width)[2]


def test_a_script_that_tells_of_its_epochs_alone_is_counted_in_these() -> None:
    read = replace(READ, step=3, steps_total=10, epoch=None, steps_per_s=0.5, unit="epoch")
    _, progress, figures, *_ = shown(replace(SCRIPT, read=read))
    assert progress.endswith("  epoch 3/10  30 %  ETA 0:14")
    assert figures.startswith("loss 2.312   0.50 epochs/s   read from")

"""Whose figures of a script are shown, and what becomes of the curves."""

from __future__ import annotations

from motley.console.state.script_figures import ScriptFigures
from motley.trainer.contract.wire import Reading


def reading(step: int, *, member: int = 0, loss: float | None = None, rate: float | None = None) -> Reading:
    return Reading(
        time=0.0, host=f"box{member}", member=member, step=step, loss=loss, steps_per_s=rate, steps_total=100
    )


def test_the_first_rank_that_tells_a_loss_is_shown_else_the_first() -> None:
    figures = ScriptFigures()
    assert figures.shown() is None
    figures.add(reading(5, member=2), 1.0)
    figures.add(reading(4, member=1), 2.0)
    shown = figures.shown()
    assert shown is not None
    assert (shown.member, shown.host, shown.step, shown.at) == (1, "box1", 4, 2.0)
    figures.add(reading(6, member=2, loss=2.0), 3.0)
    figures.add(reading(7, member=1), 4.0)
    shown = figures.shown()
    assert shown is not None
    assert (shown.member, shown.step, shown.loss) == (2, 6, 2.0)


def test_the_curves_are_those_of_the_rank_that_is_shown() -> None:
    figures = ScriptFigures()
    figures.add(reading(1, member=1, rate=9.0), 0.0)
    for step in (10, 20, 30):
        figures.add(reading(step, loss=3 - step / 10, rate=2.0), 0.0)
        figures.add(reading(step + 5, member=1, loss=9.0), 0.0)
    assert figures.losses.points() == ((10.0, 2.0), (20.0, 1.0), (30.0, 0.0))
    assert figures.rates.points() == ((10.0, 2.0), (20.0, 2.0), (30.0, 2.0))


def test_a_script_that_starts_anew_draws_over_what_it_had() -> None:
    figures = ScriptFigures()
    for step in (10, 20, 30, 15):
        figures.add(reading(step, loss=float(step)), 0.0)
    assert figures.losses.points() == ((10.0, 10.0), (15.0, 15.0))


def test_the_time_left_is_that_of_the_bar() -> None:
    figures = ScriptFigures()
    figures.add(reading(20, rate=4.0), 0.0)
    shown = figures.shown()
    assert shown is not None
    assert shown.eta_s == 20.0

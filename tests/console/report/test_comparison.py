"""Runs beside each other: what differs, what is best, and curves over one axis."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.console.report.comparison import compare, default_of, figures_table, settings_table
from motley.console.report.comparison_view import comparison_page
from motley.console.report.read_report import read
from motley.console.report.report import Report
from motley.console.view.plot import overlaid
from motley.console.view.styled_line import text
from motley.remote.errors import UsageError
from tests.console.report.experiments import event, group, step, summary, write


def a_run(folder: Path, *, ms: float, loss: float, toml: str, accuracy: float = 0.5) -> Report:
    events = [
        group(),
        event("report", "", 1.0, step=0, steps_total=8, steps_per_epoch=4, shares=[32, 32]),
        event("evaluated", "", 1.2, step=4, epoch=1, accuracy=accuracy / 2, loss=loss, figures={}),
        event("evaluated", "", 1.4, step=8, epoch=2, accuracy=accuracy, loss=loss / 2, figures={}),
    ]
    lines = [sample for number in range(1, 9) for sample in step(number, ms=ms, loss=loss)]
    return read(write(folder, events, lines, told=summary(final_loss=loss), toml=toml))


@pytest.fixture
def three(tmp_path: Path) -> list[Report]:
    """Which differ in rate and seed; `c` sets the seed that is the default."""
    rates = [
        ("a", "0.1\nseed = 1", 100.0, 0.4),
        ("b", "0.03\nseed = 0", 50.0, 0.8),
        ("c", "0.1\nseed = 0.0", 100.0, 0.3),
    ]
    return [
        a_run(tmp_path / name, ms=ms, loss=loss, toml=f'[run]\ntask = "mlp/digits"\nlearning_rate = {rate}\n')
        for name, rate, ms, loss in rates
    ]


def test_settings_are_shown_as_far_as_they_differ(three: list[Report]) -> None:
    comparison = compare(three)
    assert [(row.key, row.values) for row in comparison.settings] == [
        ("run.learning_rate", ("0.1", "0.03", "0.1")),
        ("run.seed", ("1", "0", "0")),
    ]
    assert settings_table(comparison).columns == ("setting", "a", "b", "c")


def test_a_setting_that_is_left_to_its_default_is_the_default(tmp_path: Path) -> None:
    told = [
        a_run(tmp_path / name, ms=1.0, loss=1.0, toml=f"[run]\n{line}\n")
        for name, line in (("a", ""), ("b", "seed = 0"), ("c", "seed = 7"))
    ]
    assert compare(told[:2]).settings == ()
    assert [(row.key, row.values) for row in compare(told).settings] == [("run.seed", ("0", "0", "7"))]
    assert (default_of("run.seed"), default_of("task.rank"), default_of("hosts")) == ("0", "", "")


def test_the_best_are_marked_and_the_others_told_against_the_baseline(three: list[Report]) -> None:
    comparison = compare(three, baseline="b")
    figures = {figure.name: figure for figure in comparison.figures}
    assert figures["samples/s"].best == (1,)
    assert figures["samples/s"].change == pytest.approx((-0.5, 0.0, -0.5))
    assert figures["held-out loss"].values == (0.2, 0.4, 0.15)
    assert figures["held-out loss"].best == (2,)
    assert figures["accuracy"].best == ()  # all alike
    table = figures_table(comparison)
    assert table.columns == ("", "a", "b (baseline)", "c")
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["samples/s"] == ("640 (-50 %)", "1,280", "640 (-50 %)")
    marked = {(table.rows[row][0], table.columns[column]) for row, column in table.marked}
    assert {("samples/s", "b (baseline)"), ("last loss", "c")} <= marked


def test_of_many_runs_each_has_a_row(three: list[Report]) -> None:
    table = figures_table(compare([*three, *three]))
    assert len(table.rows) == 6
    best = {(table.rows[row][0], table.columns[column]) for row, column in table.marked}
    assert any(
        name.endswith("/b") and figure == "samples/s" for name, figure in best
    )  # by folder: names are there twice


@pytest.mark.parametrize(("by", "last"), [("step", 8.0), ("epoch", 2.0), ("time", 0.8)])
def test_curves_are_over_steps_epochs_or_time(three: list[Report], by: str, last: float) -> None:
    comparison = compare(three, by=by)  # type: ignore[arg-type] # one of three words
    curves = {curve.name: curve.points for curve in comparison.curves}
    assert set(curves) == {"loss", "held-out loss", "accuracy", "samples/s"}
    begun = curves["loss"][0][0][0] if by == "time" else 0.0
    assert curves["loss"][0][-1][0] - begun == pytest.approx(last if by != "time" else 0.7)
    if by == "time":  # twice as fast
        assert curves["loss"][1][-1][0] - curves["loss"][1][0][0] == pytest.approx(0.35)


def test_a_run_without_epochs_is_said_to_have_no_curve_by_them(three: list[Report], tmp_path: Path) -> None:
    unknown = read(write(tmp_path / "old", [group()], [*step(1), *step(2)], told=summary()))
    comparison = compare([three[0], unknown], by="epoch")
    assert any(note.startswith("old: how many steps an epoch has is not known") for note in comparison.notes)
    assert comparison.curves[0].points[1] == ()


def test_a_clock_that_was_set_back_does_not_turn_a_curve_around(tmp_path: Path) -> None:
    lines = [sample for number in range(1, 9) for sample in step(number, at=9.0 - number)]
    runs = [read(write(tmp_path / name, [group()], lines, told=summary())) for name in ("a", "b")]
    places = [x for x, _ in compare(runs, by="time").curves[0].points[0]]
    assert len(places) == 8
    assert places == sorted(places)


def test_one_run_or_a_baseline_that_is_none_of_them_is_refused(three: list[Report]) -> None:
    with pytest.raises(UsageError, match="takes two runs or more"):
        compare(three[:1])
    with pytest.raises(UsageError, match=r"--baseline d is none of the runs that are compared: a, b, c"):
        compare(three, baseline="d")


def test_the_page_overlays_the_curves(three: list[Report]) -> None:
    page = comparison_page(compare(three))
    assert page.count("<svg") == 4
    assert page.count("<path ") == 12
    assert 'class="n best"' in page
    assert "<script" not in page


def test_curves_that_are_overlaid_share_their_axes() -> None:
    lines = overlaid([(((0, 1), (10, 1)), "accent"), (((5, 2), (20, 2)), "second")], width=40, height=6)
    assert text(lines[0]).startswith("2.00 ┤")
    assert text(lines[-1]).strip().startswith("└0 ─")
    assert text(lines[-1]).endswith(" 20")
    roles = {role for line in lines[:-1] for part, role in line if part.strip() and part not in "┤│"}
    assert {"accent", "second"} <= roles
    assert overlaid([], width=40, height=6) == overlaid([(((0, 1), (1, 1)), "accent")], width=9, height=6) == []

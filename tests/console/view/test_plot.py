"""Charts and figures: axes that end at round numbers, marks where decisions were made, numbers people read."""

from __future__ import annotations

import pytest

from motley.console.view import figures
from motley.console.view.plot import ceiling, plot
from motley.console.view.styled_line import text


def test_the_chart_rises_where_the_figure_does_and_marks_the_decisions() -> None:
    points = [(float(x), 100.0 if x < 50 else 1000.0) for x in range(1, 101)]
    lines = [text(line) for line in plot(points, width=60, height=8, marks=[(50, "▲", "warn")])]
    assert len(lines) == 8
    assert lines[0].startswith("1,000 ┤")
    top, low = lines[0].split("┤")[1], lines[-2].split("┤")[1]
    assert top[:20].strip() == ""
    assert top[-20:].strip() != ""
    assert low[:20].strip() != ""
    axis = lines[-1]
    assert axis.strip().startswith("└1 ")
    assert axis.endswith(" 100")
    assert abs(axis.index("▲") - (len(axis) - 26)) <= 2


def test_a_chart_without_room_or_points_draws_nothing() -> None:
    assert plot([], width=60, height=8) == []
    assert plot([(1, 1.0)], width=10, height=8) == []
    assert plot([(1, 1.0)], width=60, height=2) == []


@pytest.mark.parametrize(("value", "top"), [(0, 1), (0.7, 0.8), (1.0, 1), (2.3, 2.5), (1312, 1500), (9001, 10000)])
def test_axes_end_at_round_numbers(value: float, top: float) -> None:
    assert ceiling(value) == pytest.approx(top)


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (figures.rate(1312.4), "1,312"),
        (figures.rate(12.34), "12.3"),
        (figures.milliseconds(8.44), "8.4"),
        (figures.memory(312.0), "312 MiB"),
        (figures.memory(1536.0), "1.5 GiB"),
        (figures.duration(3723), "1:02:03"),
        (figures.duration(200_000), "2 d 7 h"),
        (figures.age(61), "1 m"),
        (figures.loss(0.00001), "1.00e-05"),
        (figures.sparkline([1, 5, 9], 3), "▁▅█"),
        (figures.sparkline([100, 101, 99, 100], 4), "▄▅▄▄"),
        (figures.block_bar(0.5, 4), "██  "),
        ("".join(figures.progress(0.5, 8)), "━━━━────"),
    ],
)
def test_figures(got: str, expected: str) -> None:
    assert got == expected

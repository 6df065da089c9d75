"""Curves in a page: each has the colour of its place, whichever others have nothing to draw."""

from __future__ import annotations

import re

from motley.console.report.html_page.svg_chart import Series, chart

NAN = float("nan")


def classes(text: str) -> list[str]:
    return re.findall(r'<path class="([^"]*)"', text)


def test_a_curve_keeps_its_colour_where_others_have_a_point_or_none() -> None:
    text = chart("loss", [Series("a", ()), Series("b", ((3, 1),)), Series("c", ((1, 2), (5, 1)))])
    assert classes(text) == ["c1 dot", "c2"]
    assert re.findall(r'<span class="key (\w+)">(\w+)', text) == [("c1", "b"), ("c2", "c")]


def test_there_is_no_picture_of_single_points_or_of_what_is_no_number() -> None:
    assert chart("loss", [Series("a", ((1, 1),)), Series("b", ())]) == ""
    assert chart("loss", [Series("a", ((1, NAN), (2, NAN)))]) == ""


def test_places_are_within_the_picture() -> None:
    text = chart("loss", [Series("a", ((10, 0.0), (20, 4.0), (30, -1.0)))], marks=[(20.0, "<moved>"), (99.0, "away")])
    assert 'd="M0.0,300.0 L500.0,0.0 L1000.0,300.0"' in text
    assert text.count('class="mark"') == 1
    assert "&lt;moved&gt;" in text


def test_many_runs_are_told_apart() -> None:
    text = chart("loss", [Series(str(i), ((1, i), (2, i))) for i in range(10)])
    assert classes(text)[7:] == ["c7", "c0 dashed", "c1 dashed"]

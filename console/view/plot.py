"""A line chart in braille dots as lines of text, with its axis and marks. A pure function; the charts panel paints it.

    >>> for line in plot([(1, 600), (50, 1300)], width=40, height=6, marks=[(20, "▲", "warn")]): print(text(line))

Two dots a cell across and four down, so 34 columns show 68 points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from motley.console.view.figures import rate
from motley.console.view.styled_line import Line, Role, fit

BRAILLE = 0x2800
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # by column, from the top

Mark = tuple[float, str, Role]  # at which step, the character, its role


def plot(
    points: Sequence[tuple[float, float]],
    *,
    width: int,
    height: int,
    marks: Sequence[Mark] = (),
    role: Role = "accent",
    label: Callable[[float], str] = rate,
) -> list[Line]:
    """`height` lines of at most `width` cells: the curve from 0 up, under it the steps and a mark at each of `marks`.

    Returns no lines when there is nothing to draw or no room to.
    """
    rows = height - 1
    if not points or rows < 2:
        return []
    top = ceiling(max(y for _, y in points))
    labels = {0: label(top), rows - 1: "0"}
    if rows >= 5 and rows % 2:
        labels[rows // 2] = label(top / 2)
    gutter = max(len(value) for value in labels.values()) + 1
    columns = width - gutter - 1
    if columns < 8:
        return []
    first, last = points[0][0], points[-1][0]
    cells = _dots(_resample(points, columns * 2), columns, rows, top)
    lines: list[Line] = []
    for row in range(rows):
        tick = "┤" if row in labels else "│"
        lines.append(
            (
                (fit(labels.get(row, ""), gutter - 1, right=True) + " ", "muted"),
                (tick, "muted"),
                ("".join(chr(BRAILLE + dots) if dots else " " for dots in cells[row]), role),
            )
        )
    lines.append(((" " * gutter, "muted"), ("└", "muted"), *_axis(first, last, columns, marks)))
    return lines


def overlaid(
    series: Sequence[tuple[Sequence[tuple[float, float]], Role]],
    *,
    width: int,
    height: int,
    label: Callable[[float], str] = rate,
    x_label: Callable[[float], str] = "{:,.0f}".format,
) -> list[Line]:
    """As `plot`, of several curves over one axis, each in its role. Where two share a cell it is in the first one's."""
    drawn = [(points, role) for points, role in series if len(points) > 1]
    rows = height - 1
    if not drawn or rows < 2:
        return []
    top = ceiling(max(y for points, _ in drawn for _, y in points))
    first, last = min(points[0][0] for points, _ in drawn), max(points[-1][0] for points, _ in drawn)
    labels = {0: label(top), rows - 1: "0"}
    gutter = max(len(value) for value in labels.values()) + 1
    columns = width - gutter - 1
    if columns < 8 or last <= first:
        return []
    cells = [[0] * columns for _ in range(rows)]
    roles: list[list[Role]] = [["muted"] * columns for _ in range(rows)]
    for points, role in drawn:
        start = round((points[0][0] - first) / (last - first) * (columns - 1))
        end = max(start + 1, round((points[-1][0] - first) / (last - first) * (columns - 1)) + 1)
        for row, dots in enumerate(_dots(_resample(points, (end - start) * 2), end - start, rows, top)):
            for column, cell in enumerate(dots, start):
                if cell and not cells[row][column]:
                    roles[row][column] = role
                cells[row][column] |= cell
    lines: list[Line] = []
    for row in range(rows):
        spans: Line = tuple((chr(BRAILLE + dots) if dots else " ", role) for dots, role in zip(cells[row], roles[row]))
        name, tick = fit(labels.get(row, ""), gutter - 1, right=True), "┤" if row in labels else "│"
        lines.append(((name + " ", "muted"), (tick, "muted"), *spans))
    begin, close = x_label(first) + " ", " " + x_label(last)
    axis = begin + "─" * max(0, columns - len(begin) - len(close)) + close
    lines.append(((" " * gutter, "muted"), ("└", "muted"), (axis, "muted")))
    return lines


def ceiling(value: float) -> float:
    """The next round number at or above: 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6 or 8 times a power of ten."""
    if value <= 0 or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    for factor in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8):
        if value <= factor * power * (1 + 1e-9):
            return factor * power
    return 10 * power


def _resample(points: Sequence[tuple[float, float]], columns: int) -> list[float]:
    """One value a dot column: the mean of the points in it, or between its neighbours where there are few."""
    first, last = points[0][0], points[-1][0]
    span = last - first
    if span <= 0:
        return [points[-1][1]] * columns
    sums, counts = [0.0] * columns, [0] * columns
    for x, y in points:
        column = min(columns - 1, int((x - first) / span * (columns - 1) + 0.5))
        sums[column] += y
        counts[column] += 1
    known = [i for i in range(columns) if counts[i]]
    values = [sums[i] / counts[i] if counts[i] else 0.0 for i in range(columns)]
    for left, right in pairwise(known):
        for i in range(left + 1, right):
            part = (i - left) / (right - left)
            values[i] = values[left] * (1 - part) + values[right] * part
    return values


def _dots(values: Sequence[float], columns: int, rows: int, top: float) -> list[list[int]]:
    cells = [[0] * columns for _ in range(rows)]
    height = rows * 4 - 1
    before: int | None = None
    for x, value in enumerate(values):
        y = height - min(height, max(0, round(value / top * height)))
        reach = range(min(y, before), max(y, before) + 1) if before is not None and abs(y - before) > 1 else (y,)
        for dot in reach:
            cells[dot // 4][x // 2] |= DOTS[x % 2][dot % 4]
        before = y
    return cells


def _axis(first: float, last: float, columns: int, marks: Sequence[Mark]) -> Line:
    """The steps at both ends of the line, and the marks on it."""
    line = ["─"] * columns
    roles: list[Role] = ["muted"] * columns
    start, end = f"{first:,.0f} ", f" {last:,.0f}"
    if len(start) + len(end) + 4 <= columns and last > first:
        line[: len(start)] = start
        line[-len(end) :] = end
        for step, character, role in marks:
            column = round((step - first) / (last - first) * (columns - 1))
            if len(start) <= column < columns - len(end):
                line[column], roles[column] = character, role
    spans: list[tuple[str, Role]] = []
    for character, role in zip(line, roles, strict=True):
        if spans and spans[-1][1] == role:
            spans[-1] = (spans[-1][0] + character, role)
        else:
            spans.append((character, role))
    return tuple(spans)

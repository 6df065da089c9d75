"""A report on the terminal, by rich. What it says is of `tables`; this only draws it.

>>> show(report, Console())
"""

from __future__ import annotations

from collections.abc import Callable

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from motley.console.report import tables
from motley.console.report.report import Points, Report
from motley.console.report.tables import Table
from motley.console.view.figures import loss, percent, rate, sparkline
from motley.console.view.plot import Mark, plot
from motley.console.view.styled_line import Line, Role

HEIGHT = 8  # lines of a chart
WIDEST = 100
SPARKS = 48  # cells of the picture of a share
STYLES: dict[Role, str] = {
    "text": "", "strong": "bold", "muted": "dim", "good": "green", "warn": "yellow", "bad": "red", "accent": "cyan",
    "second": "magenta", "inverse": "reverse",
}  # fmt: skip
LEVELS = {"error": "red", "warning": "yellow"}


def show(report: Report, screen: Console) -> None:
    screen.print(Text(tables.headline(report), style="bold"))
    for note in report.notes:
        screen.print(Text(f"  {note}", style="yellow"))
    facts(tables.facts(report), screen)
    if report.cause:
        heading("why it failed", screen)
        for text in (report.cause, *report.failed_with):
            screen.print(Text(f"  {text}", style="red"))
    chart(f"{report.counted}/s by step", report.throughput, screen, marks=marks(report))
    chart("loss by step", report.losses, screen, label=loss, marks=marks(report))
    for table in (
        shares_table(report),
        tables.evaluations_table(report),
        tables.hosts_table(report),
        tables.decisions_table(report),
        tables.regroups_table(report),
    ):
        draw(table, screen)
    heading("what balancing saved", screen)
    lines(tables.balance_lines(report), screen)
    heading("goodput", screen)
    lines(tables.goodput_lines(report), screen)
    draw(tables.happened_table(report), screen)


def shares_table(report: Report) -> Table:
    """A line a host: its share of the first step, of the last, and a small picture of what was between."""
    curves = [curve for curve in report.shares if curve.points] if len(report.shares) > 1 else []
    rows = [
        (
            curve.host,
            percent(curve.points[0][1]),
            sparkline(thinned(curve.points), SPARKS),
            percent(curve.points[-1][1]),
        )
        for curve in curves
    ]
    table = Table(
        title="shares over time", columns=("host", "first", "", "last"), rows=tuple(rows), right=frozenset({1, 3})
    )
    return tables.shortened(table)


def thinned(points: Points) -> list[float]:
    """At most `SPARKS` values, spread over all of them."""
    most = min(SPARKS, len(points))
    return [points[round(i * (len(points) - 1) / max(1, most - 1))][1] for i in range(most)]


def marks(report: Report) -> list[Mark]:
    """On the axis: changes of the shares, and regroups."""
    found: list[Mark] = [(one.step, "▲", "accent") for one in report.decisions]
    return found + [(one.step_before, "●", "warn") for one in report.regroups if one.step_before is not None]


def chart(
    title: str,
    points: Points,
    screen: Console,
    *,
    label: Callable[[float], str] = rate,
    marks: list[Mark] | None = None,
) -> None:
    if len(points) < 2:
        return
    drawn = plot(points, width=min(WIDEST, screen.width), height=HEIGHT, marks=marks or (), label=label)
    if drawn:
        heading(title, screen)
        for line in drawn:
            screen.print(styled(line))


def heading(title: str, screen: Console) -> None:
    screen.print()
    screen.print(Text(title, style="bold"))


def lines(texts: list[str], screen: Console) -> None:
    for text in texts:
        screen.print(Text(f"  {text}"))


def facts(rows: list[tuple[str, str]], screen: Console) -> None:
    grid = RichTable.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(Text(f"  {name}"), Text(value))
    screen.print(grid)


def draw(table: Table, screen: Console) -> None:
    """Nothing where it has no rows."""
    if not table.rows:
        return
    heading(table.title + (f" ({table.left_out:,} more are left out)" if table.left_out else ""), screen)
    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", show_edge=False)
    for number, name in enumerate(table.columns):
        drawn.add_column(Text(name), justify="right" if number in table.right else "left", overflow="fold")
    for number, row in enumerate(table.rows):
        level = next((LEVELS[cell] for cell in row if cell in LEVELS), "")
        best = [(number, column) in table.marked for column in range(len(row))]
        drawn.add_row(*(Text(cell, style="bold green" if good else level) for cell, good in zip(row, best)))
    screen.print(drawn)


def styled(line: Line) -> Text:
    return Text.assemble(*((part, STYLES[role]) for part, role in line), no_wrap=True, overflow="crop")

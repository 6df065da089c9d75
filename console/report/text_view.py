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


def show(report: Report, terminal: Console) -> None:
    terminal.print(Text(tables.headline(report), style="bold"))
    for note in report.notes:
        terminal.print(Text(f"  {note}", style="yellow"))
    facts(tables.facts(report), terminal)
    if report.cause:
        heading("why it failed", terminal)
        for text in (report.cause, *report.failed_with):
            terminal.print(Text(f"  {text}", style="red"))
    chart(f"{report.counted}/s by step", report.throughput, terminal, marks=marks(report))
    chart("loss by step", report.losses, terminal, label=loss, marks=marks(report))
    for table in (
        shares_table(report),
        tables.evaluations_table(report),
        tables.hosts_table(report),
        tables.decisions_table(report),
        tables.regroups_table(report),
    ):
        draw(table, terminal)
    heading("what balancing saved", terminal)
    lines(tables.balance_lines(report), terminal)
    heading("goodput", terminal)
    lines(tables.goodput_lines(report), terminal)
    draw(tables.happened_table(report), terminal)


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
    terminal: Console,
    *,
    label: Callable[[float], str] = rate,
    marks: list[Mark] | None = None,
) -> None:
    if len(points) < 2:
        return
    drawn = plot(points, width=min(WIDEST, terminal.width), height=HEIGHT, marks=marks or (), label=label)
    if drawn:
        heading(title, terminal)
        for line in drawn:
            terminal.print(styled(line))


def heading(title: str, terminal: Console) -> None:
    terminal.print()
    terminal.print(Text(title, style="bold"))


def lines(texts: list[str], terminal: Console) -> None:
    for text in texts:
        terminal.print(Text(f"  {text}"))


def facts(rows: list[tuple[str, str]], terminal: Console) -> None:
    grid = RichTable.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(Text(f"  {name}"), Text(value))
    terminal.print(grid)


def draw(table: Table, terminal: Console) -> None:
    """Nothing where it has no rows."""
    if not table.rows:
        return
    heading(table.title + (f" ({table.left_out:,} more are left out)" if table.left_out else ""), terminal)
    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", show_edge=False)
    for number, name in enumerate(table.columns):
        drawn.add_column(Text(name), justify="right" if number in table.right else "left", overflow="fold")
    for number, row in enumerate(table.rows):
        level = next((LEVELS[cell] for cell in row if cell in LEVELS), "")
        best = [(number, column) in table.marked for column in range(len(row))]
        drawn.add_row(*(Text(cell, style="bold green" if good else level) for cell, good in zip(row, best)))
    terminal.print(drawn)


def styled(line: Line) -> Text:
    return Text.assemble(*((part, STYLES[role]) for part, role in line), no_wrap=True, overflow="crop")

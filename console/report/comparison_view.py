"""A comparison on the terminal, by rich, and as a page. What it says is of `comparison`; this only draws it."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.text import Text

from motley.console.report.comparison import Comparison, Curves, figures_table, settings_table
from motley.console.report.html_page import page
from motley.console.report.html_page.svg_chart import Series, chart
from motley.console.report.text_view import HEIGHT, STYLES, WIDEST, draw, heading
from motley.console.view.figures import duration, loss, percent, rate
from motley.console.view.plot import overlaid
from motley.console.view.styled_line import Role

ROLES: tuple[Role, ...] = ("accent", "second", "good", "warn", "bad", "text")  # of the curves, in the order of the runs


def show(comparison: Comparison, screen: Console) -> None:
    screen.print(Text(_title(comparison), style="bold"))
    for note in comparison.notes:
        screen.print(Text(f"  {note}", style="yellow"))
    draw(settings_table(comparison), screen)
    if not comparison.settings:
        screen.print(Text("  their settings are the same"))
    draw(figures_table(comparison), screen)
    for curves in comparison.curves:
        _draw_curves(curves, comparison, screen)


def comparison_page(comparison: Comparison) -> str:
    places = _x_label(comparison)
    charts = [
        chart(
            f"{curves.name} by {comparison.by}",
            [Series(name, points) for name, points in zip(comparison.names, curves.points)],
            label=_label(curves.name),
            x_label=places,
            x_name=comparison.by,
        )
        for curves in comparison.curves
    ]
    same = "" if comparison.settings else page.paragraphs(["their settings are the same"])
    parts = [
        page.paragraphs(comparison.notes, "note"),
        page.table(settings_table(comparison)) or same,
        page.table(figures_table(comparison)),
        page.section("curves", *charts),
    ]
    return page.page(_title(comparison), parts, footer="motley compare " + " ".join(comparison.names))


def _draw_curves(curves: Curves, comparison: Comparison, screen: Console) -> None:
    drawn = overlaid(
        [(points, ROLES[i % len(ROLES)]) for i, points in enumerate(curves.points)],
        width=min(WIDEST, screen.width), height=HEIGHT, label=_label(curves.name), x_label=_x_label(comparison),
    )  # fmt: skip
    if not drawn:
        return
    heading(f"{curves.name} by {comparison.by}", screen)
    names = [(f"━ {name}  ", STYLES[ROLES[i % len(ROLES)]]) for i, name in enumerate(comparison.names)]
    screen.print(Text.assemble(*names))
    for line in drawn:
        screen.print(Text.assemble(*((part, STYLES[role]) for part, role in line), no_wrap=True, overflow="crop"))


def _title(comparison: Comparison) -> str:
    return f"{len(comparison.names)} runs against {comparison.names[comparison.baseline]}"


def _label(name: str) -> Callable[[float], str]:
    if name == "accuracy":
        return lambda value: percent(value, 0)
    return loss if "loss" in name else rate


def _x_label(comparison: Comparison) -> Callable[[float], str]:
    if comparison.by == "time":
        return duration
    return "{:,.1f}".format if comparison.by == "epoch" else "{:,.0f}".format

"""Curves as inline SVG, with their axis and legend in HTML around it, so that letters keep their size. Pure.

>>> chart("loss by step", [Series("night", points)])
'<figure>…<svg viewBox="0 0 1000 300" …><path …/></svg>…</figure>'
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from motley.console.report.report import Points
from motley.console.view.figures import rate
from motley.console.view.plot import ceiling

WIDTH, HEIGHT = 1000, 300
COLOURS = 8  # classes c0 to c7 of the page; further series are dashed
MOST_SERIES = 64


@dataclass(frozen=True, slots=True)
class Series:
    name: str
    points: Points


def chart(
    title: str,
    series: Sequence[Series],
    *,
    label: Callable[[float], str] = rate,
    x_label: Callable[[float], str] = "{:,.0f}".format,
    x_name: str = "step",
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """From 0 up. `marks`: where on the x axis a line stands, and what it says. Empty where there is nothing to draw."""
    numbered = [(number, Series(one.name, finite(one.points))) for number, one in enumerate(series[:MOST_SERIES])]
    drawn = [(number, one) for number, one in numbered if one.points]  # each keeps the colour of its place
    if not any(len(one.points) > 1 for _, one in drawn):
        return ""
    low = min(one.points[0][0] for _, one in drawn)
    high = max(one.points[-1][0] for _, one in drawn)
    top = ceiling(max(y for _, one in drawn for _, y in one.points))
    span = max(high - low, 1e-9)

    def x_of(x: float) -> float:
        return (x - low) / span * WIDTH

    body = [f'<line class="grid" x1="0" x2="{WIDTH}" y1="{y}" y2="{y}"/>' for y in (0, HEIGHT // 2, HEIGHT)]
    for x, text in marks:
        if low <= x <= high:
            at = f"{x_of(x):.1f}"
            body.append(
                f'<line class="mark" x1="{at}" x2="{at}" y1="0" y2="{HEIGHT}"><title>{escape(text)}</title></line>'
            )
    for number, one in drawn:
        places = [f"{x_of(x):.1f},{HEIGHT * (1 - min(1.0, max(0.0, y / top))):.1f}" for x, y in one.points]
        line = " L".join(places if len(places) > 1 else places * 2)
        kind = colour(number) + ("" if len(places) > 1 else " dot")
        body.append(f'<path class="{kind}" d="M{line}"><title>{escape(one.name)}</title></path>')
    names = [f'<span class="key {colour(i)}">{escape(one.name)}</span>' for i, one in drawn]
    legend = f'<div class="legend">{" ".join(names)}</div>' if len(series) > 1 else ""
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>{legend}"
        f'<div class="plot"><div class="y"><span>{escape(label(top))}</span><span>{escape(label(top / 2))}</span>'
        f"<span>0</span></div>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{escape(title)}">'
        f"{''.join(body)}</svg></div>"
        f'<div class="x"><span>{escape(x_label(low))}</span><span>{escape(x_name)}</span>'
        f"<span>{escape(x_label(high))}</span></div></figure>"
    )


def finite(points: Points) -> Points:
    return tuple((x, y) for x, y in points if math.isfinite(x) and math.isfinite(y))


def colour(number: int) -> str:
    return f"c{number % COLOURS}" + (" dashed" if number >= COLOURS else "")

"""Numbers, ages and small pictures as short text; the same everywhere in the console. Pure functions.

>>> rate(1312.4), percent(0.9523), duration(83), sparkline([1, 5, 9], 3)
('1,312', '95.2 %', '1:23', '▁▄█')
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

SPARKS = "▁▂▃▄▅▆▇█"
EIGHTHS = " ▏▎▍▌▋▊▉█"
NONE = "\u2013"
TIMES = "\u00d7"


def count(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"


def rate(value: float | None) -> str:
    """Samples per second: whole from 100 on, three figures below."""
    return NONE if value is None else f"{value:,.{digits(value)}f}"


def digits(rate: float) -> int:
    """Of samples per second, behind the point."""
    if rate >= 99.95:
        return 0
    return 1 if rate >= 9.995 else 2


def apportioned(shares: Sequence[float], total: int) -> list[int]:
    """`total` in whole parts by the shares, which add up to 1: the parts add up to it exactly (largest remainder)."""
    exact = [share * total for share in shares]
    parts = [int(part) for part in exact]
    order = sorted(range(len(parts)), key=lambda i: parts[i] - exact[i])
    for i in order[: max(0, total - sum(parts))]:
        parts[i] += 1
    return parts


def quantity(value: float | None) -> str:
    """A figure that nothing is known of but its name: four digits that count.

    >>> quantity(14.8792), quantity(203417.0)
    ('14.88', '203,417')
    """
    if value is None:
        return NONE
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.4g}"


def milliseconds(value: float | None) -> str:
    """Without a unit below ten seconds, since the column names it."""
    if value is None:
        return NONE
    if value >= 10_000:
        return f"{value / 1000:,.0f} s"
    return f"{value:,.0f}" if value >= 9.95 else f"{value:.1f}"


def percent(fraction: float | None, digits: int = 1) -> str:
    return NONE if fraction is None else f"{fraction * 100:.{digits}f} %"


def loss(value: float | None) -> str:
    if value is None:
        return NONE
    if value >= 100 or (0 < value < 0.0005):
        return f"{value:.2e}"
    return f"{value:.3f}"


def memory(mib: float | None) -> str:
    if mib is None:
        return NONE
    return f"{mib:,.0f} MiB" if mib < 1000 else f"{mib / 1024:.1f} GiB"


def duration(seconds: float | None) -> str:
    """`0:42`, `1:02:03`, `2 d 3 h`."""
    if seconds is None:
        return NONE
    whole = max(0, round(seconds))
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def clock(at: float, *, at_latest: bool = False) -> str:
    """A time of day in eight cells: `12:01:33`, or `by 12:02` of what may have been long before."""
    if at_latest:
        return time.strftime("by %H:%M", time.localtime(math.ceil(at / 60) * 60))
    return time.strftime("%H:%M:%S", time.localtime(at))


def age(seconds: float | None) -> str:
    """How long ago, in four cells at most: `0 s`, `59 s`, `9 m`, `23 h`, `4 d`."""
    if seconds is None:
        return NONE
    whole = max(0, int(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def speed(value: float | None) -> str:
    return "" if value is None else f"{TIMES}{value:.3g}"


def gain(value: float) -> str:
    """How many times as fast, to one decimal."""
    return f"{TIMES}{value:.1f}"


def sparkline(values: Sequence[float], width: int) -> str:
    """The last `width` values as blocks between their own smallest and largest; level when they hardly differ."""
    shown = list(values)[-width:] if width > 0 else []
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    # A rank that is steady within a tenth must look steady: noise is not stretched to the full height.
    span = max(high - low, 0.1 * abs(high))
    if span <= 0:
        return SPARKS[0] * len(shown)
    base = (low + high - span) / 2
    top = len(SPARKS) - 1
    return "".join(SPARKS[min(top, int((value - base) / span * top + 0.5))] for value in shown)


def block_bar(fraction: float, width: int) -> str:
    """A bar of whole and eighth blocks, padded to `width`."""
    eighths = round(min(1.0, max(0.0, fraction)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[rest] if rest else "")).ljust(width)


def progress(fraction: float, width: int) -> tuple[str, str]:
    """A thin progress bar in two parts, done and to do, together `width` cells."""
    half = round(min(1.0, max(0.0, fraction)) * width * 2)
    full, rest = divmod(half, 2)
    done = "━" * full + ("╸" if rest else "")
    return done, "─" * (width - len(done))

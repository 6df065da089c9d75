"""What a member says, held to its type before anything is made of it: a figure, a name, a table of figures. Pure.

The coordinator keeps some of it for later, when nobody could be blamed for an error any more. So every part of a
message goes through one of these first; each raises TypeError or ValueError, which ends that member's line alone.

    >>> whole(7), figure(0.5), name("joining")
    (7, 0.5, 'joining')
"""

from __future__ import annotations

import math
from typing import Any

MOST = 2**53  # of numbers: up to here a float is as good as a whole one
LONGEST = 200  # characters of a name or an address
DEEPEST = 8  # of a table that is only passed on


def whole(value: Any) -> int:
    """A count or a number: a step, a generation, a port."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{short(value)} is no whole number")
    if not -MOST < value < MOST:
        raise ValueError(f"{short(value)} is too large")
    return value


def figure(value: Any) -> float:
    """A measured figure, such as seconds."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{short(value)} is no figure")
    if not abs(value) < MOST:  # not-a-number neither
        raise ValueError(f"{short(value)} is out of bounds")
    return float(value)


def loss(value: Any) -> float:
    """A figure that may grow without end, or be none: then it is not-a-number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{short(value)} is no figure")
    return float(value) if abs(value) < 1e300 else math.nan


def name(value: Any) -> str:
    """A short text: a phase, a host, an address."""
    if not isinstance(value, str):
        raise TypeError(f"{short(value)} is no text")
    if len(value) > LONGEST:
        raise ValueError(f"a text of {len(value)} characters")
    return value


def table(value: Any) -> dict[str, Any]:
    """A table that is passed on as it is. One that is too deep could not be written again."""
    if not isinstance(value, dict):
        raise TypeError(f"{short(value)} is no table")
    _check_depth(value, DEEPEST)
    return value


def short(value: Any) -> str:
    """A value as an error quotes it; nested ones by their type alone."""
    if isinstance(value, (dict, list)):
        return f"a {type(value).__name__}"
    said = repr(value[:40] if isinstance(value, str) else value)
    return said if len(said) <= LONGEST else f"{said[:40]}…"


def _check_depth(value: Any, left: int) -> None:
    if not isinstance(value, (dict, list)):
        return
    if not left:
        raise ValueError("a table that is nested too deeply")
    for item in value.values() if isinstance(value, dict) else value:
        _check_depth(item, left - 1)

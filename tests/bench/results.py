"""`RESULTS.md`: one section a benchmark, replaced when it runs again; each names the machine and the day.

record("Balance", "Ratios of runs that took turns.", [("dynamic / equal split", "2.01")])
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from motley.profiles.hardware import probe

RESULTS = Path(__file__).with_name("RESULTS.md")
HEAD = (
    "# Benchmark results\n\nMade by `make bench`, `make bench-llm` and `make bench-slurm`. "
    "What the lab is: [docs/lab.md](../../docs/lab.md).\n"
)


def yardstick() -> tuple[str, str]:
    """A row with the CPU time of a fixed piece of Python work, which says how fast the machine is just now."""
    took_ms = []
    for _ in range(5):
        began, total = time.process_time(), 0
        for number in range(1_000_000):
            total += number
        took_ms.append((time.process_time() - began) * 1e3)
    return "yardstick, a million additions in a loop: CPU", f"{min(took_ms):.0f} ms"


def record(title: str, text: str, rows: Sequence[tuple[str, str]], path: Path = RESULTS) -> str:
    """Put the section in the place of an older one of this title, else at the end. Returns it."""
    machine = (
        f"Machine: {probe().cpu_model}, {os.cpu_count()} cores, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {datetime.now(timezone.utc):%Y-%m-%d}."
    )
    table = "\n".join(["| what | measured |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
    section = f"## {title}\n{text}\n\n{machine}\n\n{table}\n"
    old = path.read_text(encoding="utf-8") if path.exists() else HEAD
    parts = re.split(r"(?m)^(?=## )", old)
    kept = [part.strip("\n") + "\n" for part in parts]
    places = [i for i, part in enumerate(kept) if part.startswith(f"## {title}\n")]
    if places:
        kept[places[0]] = section
    else:
        kept.append(section)
    path.write_text("\n".join(kept), encoding="utf-8")
    return section

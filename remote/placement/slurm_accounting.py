"""What Slurm's accounting has of a job, for the summary of a run: `sacct`, by component. Pure.

    >>> figures("4711+0|COMPLETED|65|00:12.500||fast[1-2]\\n4711+0.0|COMPLETED|60|00:12.400|204800K|fast[1-2]\\n")
    [{'group': 0, 'nodes': 'fast[1-2]', 'state': 'COMPLETED', 'starts': 1, 'elapsed_s': 65, 'cpu_s': 12.5, \
'max_rss_mib': 200.0}]
"""

from __future__ import annotations

import re
from typing import Any

FORMAT = "JobID,State,ElapsedRaw,TotalCPU,MaxRSS,NodeList"
OFF = ("accounting storage is disabled", "accounting_storage/none", "not configured")
_UNITS = {"": 1 / 2**20, "K": 1 / 2**10, "M": 1.0, "G": 2.0**10, "T": 2.0**20}  # MiB


def argv(job: str) -> list[str]:
    """With `--duplicates` for a job that was requeued: each start of it counts."""
    return ["sacct", "--duplicates", "--jobs", job, "--parsable2", "--noheader", f"--format={FORMAT}"]


def is_off(said: str) -> bool:
    """Whether these words of sacct's say that the cluster keeps no accounts."""
    return any(words in said.lower() for words in OFF)


def figures(text: str) -> list[dict[str, Any]]:
    """A table of each component, in their order; `max_rss_mib` is that of the largest task, None where nobody looked.

    A job's own lines have its times and its state, those of its steps the memory.
    """
    found: dict[int, dict[str, Any]] = {}
    for line in text.splitlines():
        cells = line.split("|")
        name = re.fullmatch(r"\d+(?:\+(\d+))?(\..+)?", cells[0])
        if name is None or len(cells) != 6:
            continue
        _, state, elapsed, cpu, rss, nodes = cells
        group = int(name[1] or 0)
        empty = {
            "group": group,
            "nodes": "",
            "state": "",
            "starts": 0,
            "elapsed_s": 0,
            "cpu_s": 0.0,
            "max_rss_mib": None,
        }
        row = found.setdefault(group, empty)
        if name[2] is None:
            row |= {"nodes": nodes, "state": state.partition(" ")[0], "starts": row["starts"] + 1}
            row["elapsed_s"] += int(elapsed) if elapsed.isdecimal() else 0
            row["cpu_s"] = round(row["cpu_s"] + _seconds(cpu), 3)
        if (mib := _mib(rss)) is not None:
            row["max_rss_mib"] = round(max(mib, row["max_rss_mib"] or 0.0), 1)
    return [found[group] for group in sorted(found)]


def is_settled(components: list[dict[str, Any]]) -> bool:
    """Whether the job's end has come to the accounts: they are written a little later."""
    return bool(components) and all(one["state"] not in ("RUNNING", "PENDING", "COMPLETING") for one in components)


def _seconds(time: str) -> float:
    """[days-][hours:]minutes:seconds."""
    days, _, rest = time.rpartition("-")
    parts = rest.split(":")
    if not all(re.fullmatch(r"\d+(\.\d+)?", part) for part in parts):
        return 0.0
    seconds = 0.0
    for part in parts:
        seconds = seconds * 60 + float(part)
    return seconds + 86400 * int(days) if days.isdecimal() else seconds


def _mib(size: str) -> float | None:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", size)
    return float(found[1]) * _UNITS[found[2]] if found is not None else None

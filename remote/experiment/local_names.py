"""The names of a run's files: on a host, and in `experiments/<run>/`, where the numbered files of a process are one.

>>> local_name("rank_3.1.jsonl")
'logs/rank_3_metrics.jsonl'

What the ranks print can be large. Here a log goes on in `rank_3.1.log` when it is full, then in `rank_3.2.log`; of so
many the first and the newest stay. So no name ever stands for something else than before.
"""

from __future__ import annotations

import re
from pathlib import Path

from motley.remote.experiment.records import OUTPUT

_METRICS = re.compile(r"rank_([0-9]{1,6})(?:\.[0-9]{1,6})?\.jsonl")
_OURS = re.compile(
    r"(?:rank_([0-9]{1,6})|coordinator)(?:\.([0-9]{1,9}))?\.(?:log|times)|rank_([0-9]{1,6})_metrics\.jsonl"
)
_PART = re.compile(r"(logs/(?:rank_[0-9]{1,6}|coordinator))(?:\.([0-9]{1,9}))?\.(?:log|times)")


def local_name(file: str) -> str | None:
    """Where a host's file is kept here, relative to the experiment; None for a file that isn't ours."""
    if match := _METRICS.fullmatch(file):
        return f"logs/rank_{match[1]}_metrics.jsonl"
    if match := OUTPUT.fullmatch(file):
        return f"logs/rank_{match[1]}.log"
    return {"events.jsonl": "events.jsonl", "coordinator.out": "logs/coordinator.log"}.get(file)


def first_of(name: str) -> str:
    """The first part of the log that a file is a part of, or has the times of: itself, of most.

    >>> first_of("logs/rank_3.2.log")
    'logs/rank_3.log'
    """
    match = _PART.fullmatch(name)
    return f"{match[1]}.log" if match else name


def number_of(name: str) -> int:
    match = _PART.fullmatch(name)
    return int(match[2] or 0) if match else 0


def part_of(first: str, number: int) -> str:
    return f"{first.removesuffix('.log')}.{number}.log" if number else first


def logs(experiment: Path) -> list[Path]:
    """Metrics, logs and their times that are there, the parts of one log in their order. What else lies there is left
    alone."""
    found = (path for path in (experiment / "logs").glob("*") if _OURS.fullmatch(path.name))
    return sorted(found, key=lambda path: (first_of(f"logs/{path.name}"), number_of(f"logs/{path.name}")))


def member_of(path: Path) -> int | None:
    """Of the rank whose file it is; None of the coordinator's."""
    match = _OURS.fullmatch(path.name)
    number = match and (match[1] or match[3])
    return int(number) if number else None

"""The last line of a process's output while it is being written: a progress bar that redraws itself, a prompt.

A follower gets whole lines (`trainer.verbs.attach`); what has no newline yet it would not see until the process ends.

    >>> unfinished = UnfinishedLine()
    >>> unfinished.news(folder, offsets)      # the file ends with "\\r 40%\\r 50%"
    {'rank_0.out': ' 50%'}
    >>> unfinished.news(folder, offsets)      # nothing has changed since
    {}
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

READ_BYTES = 4096  # of the end of a line: several states of a bar
MOST_CHARS = 400  # of one state: more than a row of a terminal


class UnfinishedLine:
    """For one viewer: it is told what has changed."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[int, str]] = {}

    def news(self, folder: Path, names: Iterable[str], offsets: Mapping[str, int]) -> dict[str, str]:
        """By file, what lies beyond the whole lines that were sent; empty when there is nothing any more."""
        now = {name: found for name in names if (found := _last(folder / name, offsets.get(name, 0))) is not None}
        changed = {name: text for name, (start, text) in now.items() if self._told.get(name) != (start, text)}
        gone = {name: "" for name in self._told if name not in now}
        self._told = now
        return {**gone, **changed}


def _last(path: Path, start: int) -> tuple[int, str] | None:
    """Where the line begins, and of a bar its newest state. None when there is no such line."""
    try:
        size = path.stat().st_size
        if size <= start:
            return None
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        begin = max(start, size - READ_BYTES)
        data = os.pread(descriptor, READ_BYTES, begin)
    finally:
        os.close(descriptor)
    _, newline, rest = data.rpartition(b"\n")  # what came since the whole lines were sent may have ended the line
    states = rest.decode(errors="replace").split("\r")
    text = next((state for state in reversed(states) if state.strip()), "")
    return (start + bool(newline), text[-MOST_CHARS:]) if text else None

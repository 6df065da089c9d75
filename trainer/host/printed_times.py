"""`rank_N.marks` beside `rank_N.out`: which byte of the output was printed when. Written by the supervisor.

A mark is a line `[byte, time]`: what follows was printed from that moment on, until the next mark. There is at most one
a second, later on fewer, and only where something was printed. `attach` reads them to say of each line when it came.

    >>> times_of([(0, 5.0), (8, 9.5)], 0, b"one\\ntwo\\nthree\\n")     # from which line on
    [[0, 5.0], [2, 9.5]]
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

APART_S = 1.0
FINE = 10_000  # so many marks of a file are that far apart, as many more twice as far, and so on


class MarksFile:
    """Of one file of output, from its beginning. What can't be written is tried again with the next output."""

    def __init__(self, output: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = output.with_suffix(".marks")
        self._clock = clock
        self._descriptor: int | None = None
        self._last = 0.0
        self._count = 0
        self._torn = False  # the last line was written in part

    def before(self, byte: int) -> None:
        """What is written from this byte on is printed now."""
        now = self._clock()
        if self._count and 0.0 <= now - self._last < APART_S * 2.0 ** (self._count // FINE):
            return
        line = json.dumps([byte, round(now, 2)]).encode() + b"\n"
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            written = os.write(self._descriptor, b"\n" + line if self._torn else line)
        except OSError:
            return
        self._torn = written < len(line)
        if not self._torn:
            self._last, self._count = now, self._count + 1

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class MarksReader:
    """For one viewer of a folder, which reads each file of output forward."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._marks: dict[str, list[tuple[int, float]]] = {}  # by file of output: those that are still of use
        self._read: dict[str, int] = {}  # and how far its marks were read

    def times(self, name: str, start: int, data: bytes) -> list[list[float]]:
        """For the whole lines `data` that begin at byte `start` of the file: pairs of a line's number in them and the
        time from which on they were printed. Empty when nothing is known."""
        marks = [*self._marks.get(name, ()), *self._news(name)]
        current = max((i for i, (byte, _) in enumerate(marks) if byte <= start), default=0)
        self._marks[name] = marks[current:]
        return times_of(self._marks[name], start, data)

    def _news(self, name: str) -> list[tuple[int, float]]:
        begin = self._read.get(name, 0)
        try:
            with (self._folder / name).with_suffix(".marks").open("rb") as file:
                file.seek(begin)
                lines = file.read()
        except OSError:
            return []
        end = lines.rfind(b"\n") + 1
        self._read[name] = begin + end
        return [mark for line in lines[:end].splitlines() if (mark := _mark(line)) is not None]


def times_of(marks: Iterable[tuple[int, float]], start: int, data: bytes) -> list[list[float]]:
    """A line is of the mark that its end lies behind."""
    found: dict[int, float] = {}
    line = counted = 0
    for byte, at in marks:
        if byte >= start + len(data):
            break
        here = max(byte - start, 0)
        line += data.count(b"\n", counted, here)
        counted = max(counted, here)
        found[line] = at
    return [[number, at] for number, at in found.items()]


def _mark(line: bytes) -> tuple[int, float] | None:
    """None where a full disk has left half a line."""
    try:
        byte, at = json.loads(line)
        return int(byte), float(at)
    except (ValueError, TypeError):
        return None

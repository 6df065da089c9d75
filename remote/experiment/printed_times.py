"""`logs/rank_N.times` beside `logs/rank_N.log`: which byte of the log was printed when, as far as the host has told.

A line `[byte, time]` holds for what follows, until the next one; the time is null where it is not known.

    >>> times = Times([(0, 5.0), (12, None)])
    >>> times.at(4), times.at(12)
    (5.0, None)
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from pathlib import Path

from motley.remote.feed import LogLine

UNKNOWN = -1.0  # no time of any line: what was noted last was not looked at


def times_name(log: str) -> str:
    """
    >>> times_name("logs/rank_3.1.log")
    'logs/rank_3.1.times'
    """
    return f"{log.removesuffix('.log')}.times"


def noted(lines: Iterable[tuple[LogLine, int]], begin: int, last: float | None) -> tuple[bytes, float | None]:
    """What is to be noted of lines, each with its length, that are appended at byte `begin`; and the time of the last
    one. `last`: that of the line before them."""
    content = b""
    for line, length in lines:
        at = line.time if line.exact else None
        if at != last:
            content += json.dumps([begin, at]).encode() + b"\n"
            last = at
        begin += length
    return content, last


class Times:
    """Of one log."""

    def __init__(self, marks: Sequence[tuple[int, float | None]]) -> None:
        self._bytes = [byte for byte, _ in marks]
        self._times = [at for _, at in marks]

    @property
    def known(self) -> bool:
        """Whether it is known of any line when it was printed."""
        return any(at is not None for at in self._times)

    @classmethod
    def read(cls, path: Path) -> Times:
        """Lines that can't be read are passed over. Of a part that was written anew the newest ones hold."""
        marks: list[tuple[int, float | None]] = []
        for line in path.read_bytes().splitlines() if path.exists() else []:
            try:
                byte, at = json.loads(line)
                mark = int(byte), None if at is None else float(at)
            except (ValueError, TypeError):
                continue
            while marks and marks[-1][0] >= mark[0]:
                marks.pop()
            marks.append(mark)
        return cls(marks)

    def at(self, byte: int) -> float | None:
        """When the line that begins there was printed."""
        place = bisect_right(self._bytes, byte)
        return self._times[place - 1] if place else None

    def begin_after(self, at: float) -> int:
        """The byte at which the first line begins that was printed later than `at`, a time; 0 where none was before."""
        before = [place for place, told in enumerate(self._times) if told is not None and told <= at]
        if not before:
            return 0
        later = before[-1] + 1
        return self._bytes[later] if later < len(self._bytes) else self._bytes[-1]

"""Files of records merged by time, many records at once: a long run has hundreds of thousands.

The order is that of `heapq.merge` by time: each file keeps its own order, also where its times go back, and of equal
times the earlier file's are first.

    >>> [record.time for record in in_order([iter([[one, four]]), iter([[two], [three]])])]
    [1.0, 2.0, 3.0, 4.0]
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import Any, Generic, Protocol, TypeVar

AHEAD = 256  # records of a file that are there before any is taken: many are, then, whichever file ends first


class Timed(Protocol):
    @property
    def time(self) -> float: ...


R = TypeVar("R", bound=Timed)
_time: Any = attrgetter("time")


class _File(Generic[R]):
    """What was read of a file and not taken yet. `times`: of each record the latest up to it, which says when its turn
    is: one whose time goes back follows the one before it at once."""

    def __init__(self, parts: Iterator[Sequence[R]]) -> None:
        self.records: list[R] = []
        self.times: list[float] = []
        self.ended = False
        self._parts = parts
        self._latest = float("-inf")

    def read(self) -> None:
        while not self.ended and len(self.records) < AHEAD:
            part = next(self._parts, None)
            if part is None:
                self.ended = True
            elif part:
                times: list[float] = list(map(_time, part))
                if times[0] < self._latest or times != sorted(times):
                    times = list(accumulate(times, max, initial=self._latest))[1:]
                self._latest = times[-1]
                self.records += part
                self.times += times

    def take(self, end: int) -> tuple[list[R], list[float]]:
        records, times = self.records[:end], self.times[:end]
        del self.records[:end], self.times[:end]
        return records, times


def in_order(files: Iterable[Iterator[Sequence[R]]]) -> Iterator[R]:
    """`files`: of each its records in parts of any length, which are read as they are needed."""
    open_files = [_File(parts) for parts in files]
    while open_files:
        for file in open_files:
            file.read()
        open_files = [file for file in open_files if file.records]
        # Whatever else a file has comes after its last time here, and after all that other files have up to that.
        ends = [(file.times[-1], place) for place, file in enumerate(open_files) if not file.ended]
        until, last = min(ends, default=(float("inf"), len(open_files)))
        records: list[R] = []
        times: list[float] = []
        for place, file in enumerate(open_files):
            find = bisect_right if place <= last else bisect_left
            some, at = file.take(find(file.times, until))
            records += some
            times += at
        yield from map(records.__getitem__, sorted(range(len(times)), key=times.__getitem__))

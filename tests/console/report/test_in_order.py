"""Files of records merged by time: as `heapq.merge` does it, one record at a time."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pytest

from motley.console.report import in_order as module
from motley.console.report.in_order import in_order


class Record(NamedTuple):
    time: float
    file: int
    place: int


def parts(records: Sequence[Record], chance: random.Random) -> Iterator[Sequence[Record]]:
    """Of any length, none among them."""
    at = 0
    while at < len(records):
        end = at + chance.choice((0, 1, 2, 7))
        yield records[at:end]
        at = end


@pytest.mark.parametrize("seed", range(200))
def test_the_order_is_that_of_one_record_at_a_time(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(module, "AHEAD", chance.choice((1, 3, 256)))
    back = chance.choice((0, 1, 5))  # how far times of a file go back
    files = []
    for number in range(chance.randrange(6)):
        now, records = chance.randrange(3), []
        for place in range(chance.randrange(40)):
            now += chance.choice((0, 0, 1, 2, -back))
            records.append(Record(float(now), number, place))
        files.append(records)
    one_by_one = list(heapq.merge(*files, key=lambda record: record.time))
    assert list(in_order(parts(records, chance) for records in files)) == one_by_one


def test_no_more_of_a_file_is_read_than_is_needed() -> None:
    read = 0

    def long() -> Iterator[Sequence[Record]]:
        nonlocal read
        for place in range(100_000):
            read += 1
            yield [Record(float(place), 0, place)]

    merged = in_order([long(), iter([[Record(5.5, 1, 0)]])])
    assert [next(merged).file for _ in range(8)] == [0, 0, 0, 0, 0, 0, 1, 0]
    assert read <= 2 * module.AHEAD

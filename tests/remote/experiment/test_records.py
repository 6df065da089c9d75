"""What the lines of a host's files are made into."""

from __future__ import annotations

from typing import Any

import pytest

from motley.remote.experiment.records import grouped, records_of
from motley.remote.feed import LogLine
from motley.trainer.contract.wire import Chunk, Event, encode


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([{"member": 0, "host": "box1"}], [{"member": 0, "host": "box1"}]),
        ([{"member": 0}, 1, None, ["box1"]], [{"member": 0}]),
        (5, []),
        (None, []),
        ({"member": 0}, []),
        ("box1", []),
    ],
)
def test_the_members_of_a_group_that_make_sense(members: Any, expected: list[dict[str, Any]]) -> None:
    event = Event(time=1.0, host="box1", source="coordinator", kind="group", text="", data={"members": members})
    assert grouped(event) == expected


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], [(7.0, False), (7.0, False), (7.0, False)]),  # a host with an older Motley
        ([[0, 3.0]], [(3.0, True), (3.0, True), (3.0, True)]),
        ([[1, 3.0], [2, 4]], [(7.0, False), (3.0, True), (4.0, True)]),
        ([[1], "x", None, [0, "3"], [0, -1.0], [0, 1e300], ["0", 3.0], {"0": 3.0}], [(7.0, False)] * 3),
    ],
)
def test_a_line_has_the_time_that_its_host_noted_with_it(times: list[Any], expected: list[tuple[float, bool]]) -> None:
    chunk = Chunk(file="rank_0.out", start=0, end=6, text="a\nb\nc\n", time=7.0, times=times)
    lines = [record for record in records_of("box1", chunk) if isinstance(record, LogLine)]
    assert [(line.time, line.exact) for line in lines] == expected


def test_an_empty_line_between_two_events_is_nothing() -> None:
    event = Event(time=1.0, host="box1", source="rank 0", kind="note", text="here")
    text = encode(event).decode()
    chunk = Chunk(file="events.jsonl", start=0, end=2 * len(text) + 1, text=f"{text}\n{text}")
    assert list(records_of("box1", chunk)) == [event, event]

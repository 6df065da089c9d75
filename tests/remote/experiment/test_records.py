"""What the lines of a host's files are made into."""

from __future__ import annotations

from typing import Any

import pytest

from remote.records import grouped, records_of
from trainer.wire import Chunk, Event, encode


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


def test_an_empty_line_between_two_events_is_nothing() -> None:
    event = Event(time=1.0, host="box1", source="rank 0", kind="note", text="here")
    text = encode(event).decode()
    chunk = Chunk(file="events.jsonl", start=0, end=2 * len(text) + 1, text=f"{text}\n{text}")
    assert list(records_of("box1", chunk)) == [event, event]

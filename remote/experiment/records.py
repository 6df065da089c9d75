"""The lines of a host's files as records whose text is safe to show: metrics, events, and what ranks print.

    >>> list(records_of("box1", Chunk(file="rank_0.out", start=0, end=6, text="hello\n")))
    [LogLine(host='box1', member=0, text='hello')]

A line that is no record becomes an event that says so.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from motley.remote.feed import LogLine, PartialLine
from motley.remote.sanitize import clean, clean_table
from motley.trainer.contract.wire import LATEST, Chunk, Event, Reading, Sample, Usage, WireError, decode, encode

OUTPUT = re.compile(r"rank_([0-9]{1,6})(?:\.[0-9]{1,6})?\.out")


def records_of(host: str, chunk: Chunk) -> Iterator[Sample | Reading | Usage | Event | LogLine]:
    output = OUTPUT.fullmatch(chunk.file)
    printed = _printed(chunk.times)
    at: float | None = None
    for number, line in enumerate(chunk.text.removesuffix("\n").split("\n")):
        if output or chunk.file == "coordinator.out":
            at = printed.get(number, at)
            member = int(output[1]) if output else -1
            yield LogLine(host=host, member=member, text=line, time=at or chunk.time, exact=at is not None)
        elif line:  # an empty one came of two processes that wrote at once (`trainer.host.journal`)
            yield record_of(host, chunk.file, line)


def _printed(times: list[Any]) -> dict[int, float]:
    """When the line of a number was printed, and those after it, of `wire.Chunk.times`; what makes no sense is left."""
    found: dict[int, float] = {}
    for pair in times:
        match pair:
            case [int(number), int() | float() as at] if 0.0 < at < LATEST:
                found[number] = float(at)
    return found


def partial_lines(host: str, tails: Mapping[str, Any]) -> Iterator[PartialLine]:
    """What ranks are writing at the moment, of `wire.Beat.tails`; of other files nothing is taken."""
    for file, text in tails.items():
        output = OUTPUT.fullmatch(file)
        if output and isinstance(text, str):
            yield PartialLine(host=host, member=int(output[1]), text=text)


def record_of(host: str, file: str, line: str | bytes) -> Sample | Reading | Usage | Event:
    """The record in one line, made safe; an event that says so when the line is none that belongs into the file."""
    belongs = (Event,) if file == "events.jsonl" else (Sample, Reading, Usage)
    try:
        record = decode(line)
        if isinstance(record, belongs):
            return safe(record)
        problem = f"{type(record).__name__} where {belongs[0].__name__} belongs"
    except WireError as error:
        problem = clean(str(error))
    text = f"a line of {file} can't be read: {problem}"
    return Event(time=time.time(), host=host, source="console", kind="note", text=text, level="warning")


def safe(record: Sample | Reading | Usage | Event) -> Sample | Reading | Usage | Event:
    """What may be shown of it, and kept."""
    if isinstance(record, Sample):
        return dataclasses.replace(record, host=clean(record.host), unit=clean(record.unit))
    if not isinstance(record, Event):
        return dataclasses.replace(record, host=clean(record.host))
    return dataclasses.replace(
        record,
        host=clean(record.host),
        source=clean(record.source),
        kind=clean(record.kind),
        text=clean(record.text),
        level=record.level if record.level in ("info", "warning", "error") else "info",
        data=clean_table(record.data),
    )


def line_of(record: Sample | Reading | Usage | Event | LogLine) -> bytes:
    return record.text.encode() + b"\n" if isinstance(record, LogLine) else encode(record)


def grouped(event: Event) -> list[dict[str, Any]]:
    """The members that a `group` event names; what is no table is left out."""
    members = event.data.get("members")
    return [member for member in members if isinstance(member, dict)] if isinstance(members, list) else []

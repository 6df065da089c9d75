"""What a pod has printed, as `kubectl logs --timestamps` gives it, line by line: records with their place. Pure.

`trainer.pod.records` prints them. A line of something else, such as a traceback of the pod's first process, is none.

>>> line = line_of(b'2026-11-24T20:00:00.5Z {"v":1,"type":"event",…,"file":"events.jsonl","start":812,"line":17}')
>>> line.number, line.record
(17, Chunk(file='events.jsonl', start=812, end=930, text='{"v":1,"type":"event",…}\\n'))
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from motley.trainer.contract.wire import Chunk, Record, WireError, decode

# A quote within a string of JSON has a backslash before it, so this is never found in one.
_LINE = re.compile(
    rb'(?P<stamp>\S+) (?P<record>\{"v":.*?)(?:,"file":"(?P<file>[a-z0-9_.]+)","start":(?P<start>\d{1,18}))?'
    rb',"line":(?P<number>\d{1,18})\}',
    re.DOTALL,
)


class Line(NamedTuple):
    """`stamp`: when the node had it, as Kubernetes writes times. `record`: with its place, a Chunk of its file."""

    number: int
    stamp: str
    record: Record


def line_of(text: bytes) -> Line | None:
    """None for a line that is no record of a pod's."""
    found = _LINE.fullmatch(text.rstrip(b"\r\n"))
    if found is None:
        return None
    own = found["record"] + b"}"
    number, stamp = int(found["number"]), found["stamp"].decode(errors="replace")
    if found["file"] is not None:
        start = int(found["start"])
        whole = (own + b"\n").decode(errors="replace")
        chunk = Chunk(file=found["file"].decode(), start=start, end=start + len(own) + 1, text=whole)
        return Line(number, stamp, chunk)
    try:
        return Line(number, stamp, decode(own))
    except WireError:
        return None


def parts(chunk: Chunk, borders: tuple[int, ...]) -> list[Chunk]:
    """The chunk, cut at those of these bytes of its file that lie in it. One with bytes that were no UTF-8 stays whole:
    where each of them was is not known any more."""
    data = chunk.text.encode()
    if len(data) != chunk.end - chunk.start:
        return [chunk]
    places = [chunk.start, *sorted(at for at in set(borders) if chunk.start < at < chunk.end), chunk.end]
    return (
        [
            replace(chunk, start=a, end=b, text=data[a - chunk.start : b - chunk.start].decode(errors="replace"))
            for a, b in pairwise(places)
        ]
        if len(places) > 2
        else [chunk]
    )

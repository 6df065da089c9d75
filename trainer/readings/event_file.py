"""TensorBoard's event files, as far as a loss goes: scalars with their steps.

    >>> events = EventFile()
    >>> events.feed(data)          # in whatever chunks the file grows
    [Scalar(tag='train/loss', step=10, value=2.31)]

Written from the published formats: a record is its length (8 bytes), a check sum (4), the bytes, and a check sum (4),
as TensorFlow's `tfrecord` has it; in it lies a protocol buffer `Event` (wall_time 1, step 2, summary 5), with values
(1) of a tag (1) and a `simple_value` (2), or a tensor (8) of one float. Check sums are of a kind that the standard
library does not know, and are not looked at: what can't be read ends the reading of the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST = 1 << 20  # bytes of a record; pictures and graphs are longer, and left out


@dataclass(frozen=True, slots=True)
class Scalar:
    tag: str
    step: int
    value: float


class EventFile:
    """One file, from its beginning."""

    def __init__(self) -> None:
        self.damaged = False
        self._rest = b""
        self._skip = 0  # bytes of a record that is too long

    def feed(self, data: bytes) -> list[Scalar]:
        """The scalars of the records that have come to their end, in order."""
        if self.damaged:
            return []
        self._rest += data
        found: list[Scalar] = []
        while True:
            if self._skip:
                cut = min(self._skip, len(self._rest))
                self._rest, self._skip = self._rest[cut:], self._skip - cut
            if self._skip or len(self._rest) < 12:
                return found
            (length,) = struct.unpack_from("<Q", self._rest)
            if length > LONGEST:
                if length > 1 << 40:
                    self.damaged, self._rest = True, b""
                    return found
                self._skip = 12 + length + 4
                continue
            if len(self._rest) < 12 + length + 4:
                return found
            record, self._rest = self._rest[12 : 12 + length], self._rest[12 + length + 4 :]
            try:
                found += _scalars(record)
            except (ValueError, IndexError, struct.error):
                self.damaged, self._rest = True, b""
                return found


def _scalars(record: bytes) -> Iterator[Scalar]:
    step, summaries = 0, []
    for number, value in _fields(record):
        if number == 2 and isinstance(value, int):
            step = value
        elif number == 5 and isinstance(value, bytes):
            summaries.append(value)
    for summary in summaries:
        for number, value in _fields(summary):
            if number == 1 and isinstance(value, bytes):
                tag, figure = _value(value)
                if figure is not None:
                    yield Scalar(tag, step, figure)


def _value(message: bytes) -> tuple[str, float | None]:
    tag, figure = "", None
    for number, value in _fields(message):
        if number == 1 and isinstance(value, bytes):
            tag = value.decode(errors="replace")
        elif number == 2 and isinstance(value, bytes) and len(value) == 4:
            (figure,) = struct.unpack("<f", value)
        elif number == 8 and isinstance(value, bytes):
            figure = _of_tensor(value)
    return tag, figure


def _of_tensor(message: bytes) -> float | None:
    """Of a tensor of float32 (data type 1) with one element."""
    fields = dict(_fields(message))
    content = fields.get(5, fields.get(4))
    if fields.get(1) != 1 or not isinstance(content, bytes) or len(content) != 4:
        return None
    value: float = struct.unpack("<f", content)[0]
    return value


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protocol buffer: a number for each that is a varint, else its bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + length > len(message):
            raise ValueError("a field that is cut")
        yield key >> 3, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number without end")

"""A file of lines from any place in it on: read as far as it goes, asked again as it grows, searched by halves.

>>> reader = LineReader(Path("events.jsonl"))
>>> reader.next(), reader.next()
(b'{"v":1,...}', None)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path

BLOCK = 1 << 16
LONGEST = 1 << 20  # bytes of a line: of a longer one nothing but an odd sign is told
NEAR = 1 << 15  # bytes: how exactly a place is looked for
TRIES = 64  # lines that are looked at for one that has what is looked for


class LineReader:
    """From the byte `begin`, where a line begins. `at`: the byte at which the next line begins."""

    def __init__(self, path: Path, begin: int = 0) -> None:
        self.at = begin
        self._file = path.open("rb")
        self._file.seek(begin)
        self._lines: deque[tuple[bytes, int]] = deque()  # each with its length in the file
        self._rest = b""
        self._dropped = 0  # bytes of a line that is too long

    def next(self) -> bytes | None:
        """The next whole line without its newline; None as long as there is none. Raises OSError."""
        while not self._lines:
            block = self._file.read(BLOCK)
            if not block:
                return None
            *lines, self._rest = (self._rest + block).split(b"\n")
            for line in lines:
                self._lines.append((b"?" if self._dropped else line, self._dropped + len(line) + 1))
                self._dropped = 0
            if len(self._rest) > LONGEST:
                self._dropped, self._rest = self._dropped + len(self._rest), b""
        line, length = self._lines.popleft()
        self.at += length
        return line

    def close(self) -> None:
        self._file.close()


def line_begin(path: Path, at: int) -> int:
    """Where the first line begins at or after a byte. Raises OSError."""
    if at <= 0:
        return 0
    with path.open("rb") as file:
        file.seek(at - 1)
        while block := file.read(BLOCK):
            found = block.find(b"\n")
            if found >= 0:
                return file.tell() - len(block) + found + 1
        return file.tell()


def place_of(path: Path, key: Callable[[bytes], float | None], value: float) -> int:
    """Where a line begins, at most some `NEAR` bytes before the first whose `key` is at least `value`; the file is in
    the order of its keys, most of it. `key` is None for a line that has none. Raises OSError."""
    low, high = 0, path.stat().st_size
    while high - low > NEAR:
        middle = (low + high) // 2
        found = _first_key(path, line_begin(path, middle), key)
        low, high = (middle, high) if found is not None and found < value else (low, middle)
    return line_begin(path, low)


def _first_key(path: Path, begin: int, key: Callable[[bytes], float | None]) -> float | None:
    reader = LineReader(path, begin)
    try:
        for _ in range(TRIES):
            line = reader.next()
            found = None if line is None else key(line)
            if line is None or found is not None:
                return found
    finally:
        reader.close()
    return None

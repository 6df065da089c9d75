"""What a container has printed, line by line with the time at which each came: as nodes keep it for `kubectl logs`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import NamedTuple


class Line(NamedTuple):
    time_ns: int
    text: bytes  # with its end


class PodLog:
    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._dropped = 0  # of the first ones, by rotation
        self._unsent = 0  # lines that streams which follow are not sent, as they come
        self._news = asyncio.Event()
        self._whole = False

    async def keep(self, output: asyncio.StreamReader) -> None:
        """All that comes, until it ends."""
        rest = b""
        while piece := await output.read(2**16):
            *lines, rest = (rest + piece).split(b"\n")
            moment = time.time_ns()
            self._lines += [Line(moment + number, line + b"\n") for number, line in enumerate(lines)]
            self._tell()
        if rest:
            self._lines.append(Line(time.time_ns(), rest))
        self._whole = True
        self._tell()

    def keep_last(self, size: int) -> None:
        """The others are gone, as after rotation."""
        kept, first = 0, len(self._lines)
        while first > 0 and kept + len(self._lines[first - 1].text) <= size:
            first -= 1
            kept += len(self._lines[first].text)
        self._dropped = max(self._dropped, first)

    def lose(self, count: int) -> None:
        """Whoever follows does not get the next lines; they are there for whoever asks for them."""
        self._unsent = count

    @property
    def text(self) -> bytes:
        return b"".join(line.text for line in self._lines[self._dropped :])

    async def lines(self, *, begin_s: float, tail: int, follow: bool) -> AsyncIterator[Line]:
        """`tail`: at most so many of those that are there; -1 is all."""
        there = len(self._lines)
        place = max(self._dropped, len(self._lines) - tail if tail >= 0 else 0)
        while True:
            news = self._news
            while place < len(self._lines):
                line, place = self._lines[place], place + 1
                if follow and self._unsent and place > there:
                    self._unsent -= 1
                elif line.time_ns >= begin_s * 10**9:
                    yield line
            if self._whole or not follow:
                return
            await news.wait()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

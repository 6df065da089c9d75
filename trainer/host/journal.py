"""`events.jsonl` of a run's folder: supervisor, coordinator and ranks append to it, one write a line.

>>> journal = Journal(folder, host="box1", source="rank 0")
>>> journal.write("note", "loading data")
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from motley.trainer.contract.wire import Event, Level, encode


class Journal:
    """Appends events. A line is one O_APPEND write, so several processes may write to one file."""

    def __init__(self, folder: Path, *, host: str, source: str, clock: Callable[[], float] = time.time) -> None:
        self._path = folder / "events.jsonl"
        self._descriptor: int | None = None  # until the file can be opened
        with contextlib.suppress(OSError):  # tried again with the first event
            self._descriptor = self._open()
        self._host = host
        self._source = source
        self._clock = clock

    def write(self, kind: str, text: str, level: Level = "info", **data: Any) -> None:
        """Append one event. A full or read-only disk loses the event, not the run: that goes to standard error."""
        event = Event(
            time=self._clock(), host=self._host, source=self._source, kind=kind, text=text, level=level, data=data
        )
        try:
            if self._descriptor is None:
                self._descriptor = self._open()
            os.write(self._descriptor, _gap(self._descriptor) + encode(event))
        except OSError as error:
            os.write(2, f"event not written ({error}): {text}\n".encode())

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _open(self) -> int:
        return os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)


def _gap(descriptor: int) -> bytes:
    """A disk that was full may have taken half a line, of any process: the next one begins on its own.

    Another process may be in the middle of its line just now: then an empty one comes of it.
    """
    size = os.fstat(descriptor).st_size
    return b"\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else b""

"""`events.jsonl` of a run's folder: supervisor, coordinator and ranks append to it, one write a line.

>>> journal = Journal(folder, host="box1", source="rank 0")
>>> journal.write("note", "loading data")
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer.wire import Event, Level, encode


class Journal:
    """Appends events. A line is one O_APPEND write, so several processes may write to one file."""

    def __init__(self, folder: Path, *, host: str, source: str, clock: Callable[[], float] = time.time) -> None:
        self._descriptor = os.open(folder / "events.jsonl", os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._host = host
        self._source = source
        self._clock = clock

    def write(self, kind: str, text: str, level: Level = "info", **data: Any) -> None:
        """Append one event. A full disk loses the event, not the run: the error goes to standard error."""
        event = Event(
            time=self._clock(), host=self._host, source=self._source, kind=kind, text=text, level=level, data=data
        )
        try:
            os.write(self._descriptor, self._gap() + encode(event))
        except OSError as error:
            os.write(2, f"event not written ({error}): {text}\n".encode())

    def close(self) -> None:
        os.close(self._descriptor)

    def _gap(self) -> bytes:
        """A disk that was full may have taken half a line, of any process: the next one begins on its own.

        Another process may be in the middle of its line just now: then an empty one comes of it.
        """
        size = os.fstat(self._descriptor).st_size
        return b"\n" if size and os.pread(self._descriptor, 1, size - 1) != b"\n" else b""

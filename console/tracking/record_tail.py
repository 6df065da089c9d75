"""The records of an experiment as they come: from its own files, so that nobody who writes them has to wait.

Read is what the console has committed (`remote.experiment.committed_offsets`), and so never taken back; of a folder
without commits what is there. Each line is read once.

    >>> tail = RecordTail(Path("experiments/night"))
    >>> for record in tail.read(): ...       # all so far, in order of time
    >>> for record in tail.read(): ...       # what has come since
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from pathlib import Path

from motley.remote.errors import UsageError
from motley.remote.experiment import committed_offsets
from motley.remote.experiment.local_names import logs
from motley.remote.experiment.records import record_of
from motley.trainer.contract.wire import Event, Reading, Sample, Usage

LONGEST = 1 << 20  # bytes of a line
EVENTS = "events.jsonl"

Told = Sample | Reading | Usage | Event


class RecordTail:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[str, int] = {}  # by file: up to where
        self.unreadable = 0  # lines

    def read(self) -> Iterator[Told]:
        """What is new, to be taken to its end: with a part of it in between, the rest would be told out of order."""
        sizes = self._sizes()
        files = [self._lines(name, size) for name, size in sizes.items() if size > self._read.get(name, 0)]
        yield from heapq.merge(*files, key=lambda record: record.time)

    def _sizes(self) -> dict[str, int]:
        """How much of each file there is to read: whole lines."""
        there = [EVENTS, *(f"logs/{path.name}" for path in logs(self._folder) if path.suffix == ".jsonl")]
        try:
            committed = committed_offsets.newest(self._folder).sizes
        except UsageError:
            committed = {}
        found = {}
        for name in there:
            path = self._folder / name
            if path.is_file() and not path.is_symlink():
                length = path.stat().st_size
                found[name] = min(length, committed.get(name, 0)) if committed else length
        return found

    def _lines(self, name: str, size: int) -> Iterator[Told]:
        with (self._folder / name).open("rb") as file:
            at = file.seek(self._read.get(name, 0))
            while at < size:
                line = file.readline(min(LONGEST, size - at))
                if not line.endswith(b"\n"):
                    if len(line) < LONGEST:
                        return  # its end is still to come
                    at += len(line)
                    self._read[name] = at
                    self.unreadable += 1
                    continue
                at += len(line)
                self._read[name] = at
                record = record_of("", name.rpartition("/")[2], line[:-1]) if len(line) > 1 else None
                if record is None:
                    continue
                if isinstance(record, Event) and record.source == "console" and not record.host:
                    self.unreadable += 1  # `record_of` says so of a line that is none
                    continue
                yield record

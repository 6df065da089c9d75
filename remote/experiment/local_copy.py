"""The files of `experiments/<run>/` that grow: written by one console (flock), and made permanent moment by moment.

    copy = LocalCopy.open(Path("experiments/night"))     # None while another console writes
    copy.take("box1", "rank_0.jsonl", 812, records)       # how far that file of the host has been read now
    copy.commit()

`remote.experiment.committed_offsets` holds for one moment how far each file of a host was read, and how long each file
here was then. Opening cuts the files to those lengths, so however the console ended, it goes on where the copy ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from motley.remote.errors import UsageError
from motley.remote.experiment import committed_offsets
from motley.remote.experiment.local_names import first_of, local_name, logs, number_of, part_of
from motley.remote.experiment.printed_times import UNKNOWN, noted, times_name
from motley.remote.experiment.records import line_of
from motley.remote.feed import LogLine
from motley.trainer.contract.wire import Event, Reading, Sample, Usage, encode

SYNC_S = 10.0  # what a power cut of this machine may take, and is read again
LOG_BYTES = 20 * 1024 * 1024  # of a part of a log; with LATER about what a host keeps
LATER = 2  # parts of a log that stay beside the first one: the newest, one of them full


class LocalCopy:
    """What a disk refuses is told by the next `commit`; nothing is written any more from then on. A place is a host; or
    `HOST/ID`, one of its folders, where it may have the run in several."""

    def __init__(self, folder: Path, lock: int) -> None:
        self._folder = folder
        self._lock: int | None = lock
        self._files: dict[str, BinaryIO] = {}
        self._newest: dict[str, int] = {}  # part of each log, by its first one
        self._last: dict[str, float | None] = {}  # by part of a log: when its last line was printed
        self._gone: set[str] = set()  # parts that no moment tells of when the next one is on the disk
        self._offsets: dict[str, dict[str, int]] = {}
        self._refused: OSError | None = None
        self._dirty = False
        self._sync_due = 0.0
        self._syncing = threading.Thread()  # that waits for the disk

    @classmethod
    def open(cls, folder: Path) -> LocalCopy | None:
        """None when another console writes. Raises UsageError when the copy is damaged, OSError when it is refused."""
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        except OSError:  # of a file system that knows no locks
            os.close(lock)
            raise
        copy = cls(folder, lock)
        try:
            copy._recover()
        except (UsageError, OSError):
            copy.release()
            raise
        return copy

    def offsets(self, place: str) -> dict[str, int]:
        """How far each file there is kept here."""
        return dict(self._offsets.get(place, {}))

    def offset(self, place: str, file: str) -> int:
        return self._offsets.get(place, {}).get(file, 0)

    def begins_anew(self, place: str) -> None:
        """The files there are others now, of which nothing is kept."""
        self._dirty = self._offsets.pop(place, None) is not None or self._dirty

    def skip(self, place: str, file: str, to: int) -> None:
        """What of a file there lies before this byte is there no longer."""
        self._offsets.setdefault(place, {})[file] = to
        self._dirty = True

    def places(self) -> list[str]:
        return list(self._offsets)

    def take(
        self, place: str, file: str, end: int, records: Iterable[Sample | Reading | Usage | Event | LogLine]
    ) -> None:
        """Keep what is in a file there up to `end`, beyond what is kept of it."""
        local = local_name(file)
        assert local is not None, f"{file} is none of ours"
        kept = list(records)
        events = [record for record in kept if isinstance(record, Event)]
        self._append(local, b"".join(line_of(record) for record in kept if not isinstance(record, Event)))
        self._note_times(local, [record for record in kept if isinstance(record, LogLine)])
        self._append("events.jsonl", b"".join(encode(event) for event in events))
        self._offsets.setdefault(place, {})[file] = end
        self._dirty = True

    def note(self, event: Event) -> None:
        """Keep an event of the console's own."""
        self._append("events.jsonl", encode(event))
        self._dirty = True

    def commit(self) -> None:
        """Make what was taken so far permanent. Raises OSError when it can't be written here.

        Every few seconds another thread waits for the disk meanwhile: after a power cut it is gone on from there.
        """
        if not self._dirty:
            return
        moment = self._moment()
        committed_offsets.keep(self._folder, moment)
        self._dirty = False
        if time.monotonic() >= self._sync_due and not self._syncing.is_alive():
            self._sync_due = time.monotonic() + SYNC_S
            handles = [os.dup(file.fileno()) for file in self._files.values()]
            gone, self._gone = self._gone, set()
            self._syncing = threading.Thread(target=_sync, args=(self._folder, moment, handles, gone), daemon=True)
            self._syncing.start()

    def finish(self) -> None:
        """Commit, and wait for the disk. Raises OSError."""
        self.commit()
        if self._syncing.is_alive():
            self._syncing.join()
        moment = self._moment()
        if moment != committed_offsets.synced(self._folder):
            committed_offsets.sync(self._folder, moment, [file.fileno() for file in self._files.values()])
        _remove(self._folder, self._gone)

    def release(self) -> None:
        """Close the files and the lock; what can't be flushed is lost here, not on the hosts.

        Waits for the thread that waits for the disk: it writes what the next owner of the lock goes by.
        """
        for file in self._files.values():
            with contextlib.suppress(OSError):
                file.close()
        self._files.clear()
        if self._syncing.is_alive():
            self._syncing.join()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _append(self, first: str, content: bytes) -> None:
        if not content or self._refused is not None:
            return
        name = part_of(first, self._newest.get(first, 0))
        try:
            file = self._open(name)
            if first.endswith(".log") and file.tell() >= LOG_BYTES:
                file = self._go_on(first)
            file.write(content)
        except OSError as error:
            self._refused = error

    def _note_times(self, first: str, lines: list[LogLine]) -> None:
        """Of lines that were just appended to the log."""
        if not lines or self._refused is not None:
            return
        name = part_of(first, self._newest.get(first, 0))
        times = times_name(name)
        lengths = [len(line_of(line)) for line in lines]
        begin = self._files[name].tell() - sum(lengths)
        last = self._last.get(name, UNKNOWN if times in self._files else None)
        content, self._last[name] = noted(zip(lines, lengths, strict=True), begin, last)
        try:
            if content:
                self._open(times).write(content)
        except OSError as error:
            self._refused = error

    def _open(self, name: str) -> BinaryIO:
        if name not in self._files:
            self._files[name] = (self._folder / name).open("ab")
        return self._files[name]

    def _go_on(self, first: str) -> BinaryIO:
        """The next part of a log that is full. One that is too old is no longer told of, and goes after that."""
        number = self._newest[first] = self._newest.get(first, 0) + 1
        old = part_of(first, number - LATER)
        for name in (old, times_name(old)) if number > LATER else ():
            if name in self._files:
                self._files.pop(name).close()
                self._gone.add(name)
        return self._open(part_of(first, number))

    def _moment(self) -> committed_offsets.Moment:
        if self._refused is not None:
            raise self._refused
        for file in self._files.values():
            file.flush()
        sizes = {name: file.tell() for name, file in self._files.items()}
        return committed_offsets.Moment(sizes, {place: dict(known) for place, known in self._offsets.items()})

    def _recover(self) -> None:
        """Cut the files to the lengths of the last commit: what is beyond will be read again.

        After a power cut one may be shorter, and is cut to the last commit that the disk was waited for. One that is
        shorter still, or gone, was damaged since: what belongs into it is read again from its beginning.
        """
        last, synced = committed_offsets.newest(self._folder), committed_offsets.synced(self._folder)
        there = [f"logs/{path.name}" for path in logs(self._folder)]
        kept = [local for known in last.offsets.values() for file in known if (local := local_name(file))]
        lengths = {name: _length(self._folder / name) for name in {"events.jsonl", *kept, *there}}
        moment = committed_offsets.at_most(last, synced, lengths, local_name, first_of)
        for name in sorted(lengths):
            if name in moment.sizes:
                file = self._open(name)
                file.truncate(moment.sizes[name])
                file.seek(0, os.SEEK_END)
                first = first_of(name)
                self._newest[first] = max(self._newest.get(first, 0), number_of(name))
        self._offsets = {place: dict(known) for place, known in moment.offsets.items()}
        if moment != synced:  # what is appended from now on goes on from here
            committed_offsets.keep(self._folder, moment)
            committed_offsets.sync(self._folder, moment, [file.fileno() for file in self._files.values()])
        _remove(self._folder, lengths.keys() - moment.sizes.keys())


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sync(folder: Path, moment: committed_offsets.Moment, handles: list[int], gone: set[str]) -> None:
    """A disk that refuses is told of by the next commit."""
    try:
        with contextlib.suppress(OSError):
            committed_offsets.sync(folder, moment, handles)
            _remove(folder, gone)
    finally:
        for handle in handles:
            os.close(handle)


def _remove(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)

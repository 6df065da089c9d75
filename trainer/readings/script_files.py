"""Files in a run's folder that a script writes its figures to: `metrics.jsonl`, and TensorBoard's event files.

    >>> files = ScriptFiles(folder)
    >>> files.read(reader, now)     # what has been written since

A script finds the folder as `MOTLEY_DIR`. Looked at are the files of these names up to four folders deep, as far as
the first thousand entries go; links are not followed. A file that was replaced, or is shorter than it was, is read from
its beginning.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from motley.trainer.readings.event_file import EventFile
from motley.trainer.readings.loss_tag import is_training_loss
from motley.trainer.readings.said import Said, sound
from motley.trainer.readings.script_reader import ScriptReader

METRICS, EVENTS = "metrics.jsonl", "events.out.tfevents."
DEPTH, ENTRIES, FILES = 4, 1000, 16
READ_BYTES = 256 * 1024  # of one file in one look
LAST_LOOKS = 64  # of one file when the script has ended
LOOK_S = 1.0


@dataclass(slots=True)
class _Known:
    inode: int
    at: int = 0
    events: EventFile = field(default_factory=EventFile)


class ScriptFiles:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, _Known] = {}  # by path
        self._due = 0.0

    def read(self, reader: ScriptReader, now: float, *, last: bool = False) -> None:
        """Give the reader what is new, once each `LOOK_S`; the `last` time at once, and to the end of each file."""
        if now < self._due and not last:
            return
        self._due = now + LOOK_S
        for path in found(str(self._folder)):
            try:
                for _ in range(LAST_LOOKS if last else 1):
                    if not self._read(path, reader, now):
                        break
            except OSError:  # gone, or not to be read: the next look may be luckier
                continue

    def _read(self, path: str, reader: ScriptReader, now: float) -> int:
        """How many bytes were new."""
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            info = os.fstat(descriptor)
            known = self._known.get(path)
            if known is None or known.inode != info.st_ino or info.st_size < known.at:
                known = self._known[path] = _Known(info.st_ino)
            data = os.pread(descriptor, READ_BYTES, known.at)
        finally:
            os.close(descriptor)
        if path.endswith(METRICS):
            data = data[: data.rfind(b"\n") + 1 or (len(data) if len(data) == READ_BYTES else 0)]
            reader.feed_lines(data, now=now)
        else:
            for scalar in known.events.feed(data):
                if is_training_loss(scalar.tag):
                    reader.hear(sound(Said(step=scalar.step, loss=scalar.value)), now=now)
        known.at += len(data)
        return len(data)


def found(folder: str) -> Iterator[str]:
    """Paths of the files that may be read, at most `FILES`."""
    left, files = ENTRIES, 0
    folders = [(folder, 0)]
    while folders:
        place, depth = folders.pop(0)
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0 or files >= FILES:
                        return
                    if entry.is_dir(follow_symlinks=False):
                        if depth < DEPTH:
                            folders.append((entry.path, depth + 1))
                    elif (entry.name == METRICS or entry.name.startswith(EVENTS)) and entry.is_file(
                        follow_symlinks=False
                    ):
                        files += 1
                        yield entry.path
        except OSError:
            continue

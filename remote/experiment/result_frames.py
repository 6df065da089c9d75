"""What the verb `results` of a host sends, frame by frame, into the results folder here. See `trainer.results.send`.

>>> frames = ResultFrames(ResultsFolder(experiment, "box1"), most=20 * GIB, tell=note)
>>> frames.feed(chunk)      # as it comes from the host, cut anywhere
>>> frames.ended
True
"""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import Callable
from typing import Any

from motley.remote.errors import CommandFailed
from motley.remote.experiment.results_folder import IncomingResult, ResultsFolder
from motley.remote.sanitize import clean

GIB = 2**30
MOST_FILES, MOST_TOLD = 200_000, 50  # from one host, whatever it sends
_LINE = 64 * 1024
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


class NoRoom(Exception):
    """The disk here takes no more: what comes after it stays on its host."""


class ResultFrames:
    """One conversation's. `tell` hears of a file that could not be kept, by its path and why."""

    def __init__(self, folder: ResultsFolder, *, most: int, tell: Callable[[str, str], object]) -> None:
        folder.clear()
        self.have = folder.have()
        self._bytes = sum(size for size, _ in self.have.values())
        self.kept = 0  # files, by this conversation
        self.came = 0  # bytes of files, by this conversation
        self._told = 0
        self.ended = False
        self._folder = folder
        self._most = most
        self._tell = tell
        self._line = bytearray()
        self._left = 0  # bytes of the file under way
        self._file: IncomingResult | None = None
        self._known: tuple[str, int, int] = ("", 0, 0)
        self._payload = False  # between a file's line and the one after it

    def feed(self, chunk: bytes) -> None:
        """Raises CommandFailed for what is no frame, NoRoom when the disk here is full."""
        at = 0
        while at < len(chunk):
            if self._left:
                data = chunk[at : at + self._left]
                self._left -= len(data)
                self.came += len(data)
                at += len(data)
                self._write(data)
                continue
            end = chunk.find(b"\n", at)
            self._line += chunk[at : len(chunk) if end < 0 else end]
            if len(self._line) > _LINE:
                raise self._odd("a line without an end")
            if end < 0:
                return
            at = end + 1
            line, self._line = bytes(self._line), bytearray()
            self._take(line)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _take(self, line: bytes) -> None:
        try:
            frame: dict[str, Any] = json.loads(line)
            match frame["op"]:
                case "file" if not self._payload:
                    self._begin(str(frame["path"]), frame["size"], frame["mtime_ns"])
                case "sent" if self._payload:
                    self._payload = False
                    self._keep(whole=frame["whole"] is True)
                case "left":
                    self._say(clean(str(frame["path"])), clean(str(frame["why"])))
                case "end":
                    self.ended = True
                case "beat":
                    pass
                case other:
                    raise ValueError(f"an unexpected {other!r}")
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise self._odd(clean(str(error))) from error

    def _begin(self, path: str, size: int, mtime_ns: int) -> None:
        if type(size) is not int or type(mtime_ns) is not int or size < 0 or not 0 <= mtime_ns < 2**63:
            raise ValueError(f"a file of {size!r} bytes")
        if self._bytes - self.have.get(path, (0, 0))[0] + size > self._most:
            raise ValueError("more than was asked for")
        if len(self.have) >= MOST_FILES:
            raise ValueError(f"more than {MOST_FILES:,} files")
        self._known, self._left, self._payload = (path, size, mtime_ns), size, True
        with self._kept_away():
            self._file = self._folder.begin(path, size, mtime_ns)

    def _write(self, data: bytes) -> None:
        if self._file is not None:
            with self._kept_away():
                self._file.write(data)

    def _keep(self, *, whole: bool) -> None:
        if self._file is None:
            return
        with self._kept_away():
            if whole:
                self._file.keep()
                path, size, mtime_ns = self._known
                self._bytes += size - self.have.get(path, (0, 0))[0]
                self.have[path] = (size, mtime_ns)
                self.kept += 1
        self.close()

    @contextlib.contextmanager
    def _kept_away(self) -> Any:
        """What the disk refuses: all of it, or this file."""
        try:
            yield
        except OSError as error:
            self.close()
            if error.errno in _NO_ROOM:
                raise NoRoom(error.strerror or str(error)) from error
            self._say(clean(self._known[0]), f"it can't be kept here: {error.strerror or error}")
        except ValueError as error:
            self.close()
            self._say(clean(self._known[0]), str(error))

    def _say(self, path: str, why: str) -> None:
        self._told += 1
        if self._told <= MOST_TOLD:
            self._tell(path, why)

    def _odd(self, what: str) -> CommandFailed:
        return CommandFailed(self._folder.host, f"what it sends of its results can't be read: {what}", "Report this.")

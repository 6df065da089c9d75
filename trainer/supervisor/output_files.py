"""What ranks print: read from their pipes by the supervisor, kept in capped files, the tail at hand.

A rank writes into a pipe that the supervisor drains, never into an SSH channel: a console that stops reading can't
freeze it. `rank_N.out` is closed at `cap` bytes, at the end of a line where one comes soon, and the next number opened;
the first file and the newest ones stay. `rank_N.marks` beside it says when what was printed. On a full or read-only
disk output is lost, but for its tail; the run is not.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from motley.trainer.host.paths import open_next
from motley.trainer.host.printed_times import MarksFile
from motley.trainer.host.unwritten import remedy

CAP_BYTES = 8 * 1024 * 1024
KEPT = 4
READ_BYTES = 64 * 1024
TURN_BYTES = 4 * READ_BYTES
TAIL_LINES = 100  # a traceback through several libraries


class OutputFile:
    """The files of one process's output. `name` is "rank_3" or "coordinator"."""

    def __init__(
        self, folder: Path, name: str, pipe: int, *, cap: int = CAP_BYTES, clock: Callable[[], float] = time.time
    ) -> None:
        self.pipe = pipe
        self.closed = False
        self.hear: Callable[[bytes], object] | None = None  # is called with all that is read
        self._folder = folder
        self._name = name
        self._cap = cap
        self._clock = clock
        self._written = 0
        self._size = 0  # of the file, without what could not be written
        self._marks: MarksFile | None = None
        self.trouble = ""  # why there is no file
        self._file: int | None = None  # there is no room for one
        self._first: Path | None = None
        self._later: deque[Path] = deque()
        self._open()
        self._tail: deque[bytes] = deque(maxlen=TAIL_LINES)
        self._partial = b""

    def pump(self) -> bool:
        """Move what is in the pipe to the file, without blocking. False when the other side has closed.

        At most `TURN_BYTES`, as much as a pipe holds and more: whoever prints without end does not hold the supervisor.
        """
        moved = 0
        while moved < TURN_BYTES:
            try:
                data = os.read(self.pipe, READ_BYTES)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._keep(data)
            moved += len(data)
        return True

    def close(self) -> None:
        self.closed = True
        if self._partial:
            self._append(b"\n")  # whole lines only: followers read up to the last newline
        self._close()
        os.close(self.pipe)

    def tail(self) -> str:
        """The last lines, to show with an error."""
        lines = [*self._tail, self._partial] if self._partial else [*self._tail]
        return b"\n".join(lines).decode(errors="replace")

    def _keep(self, data: bytes) -> None:
        if self.hear is not None:
            self.hear(data)
        *lines, self._partial = (self._partial + data).split(b"\n")
        self._partial = self._partial[-READ_BYTES:]
        self._tail.extend(lines)
        self._append(data)

    def _append(self, data: bytes) -> None:
        if self._written > self._cap and b"\n" in data:
            head, _, data = data.partition(b"\n")
            self._store(head + b"\n")
            self._rotate()
        elif self._written > self._cap + READ_BYTES:  # a progress bar, or what is no text: it is cut all the same
            self._store(b"\n")
            self._rotate()
        self._store(data)

    def _store(self, data: bytes) -> None:
        if self._file is None:
            self._open()
        if self._file is not None and self._marks is not None:
            self._marks.before(self._size)
            try:
                written = os.write(self._file, data)
                self._size += written
                self._written += written
            except OSError:
                self._written += len(data)

    def _open(self) -> bool:
        """The next file, and whether there is one; where none can be made it is tried again with the next output."""
        try:
            self._file, path = open_next(self._folder, self._name, ".out")
        except OSError as error:
            self.trouble = (
                f"{self._name}.out can't be made ({error.strerror}): what {self._name} prints is lost until it can. "
                f"{remedy(error, self._folder)}"
            )
            return False
        self.trouble = ""
        self._written = self._size = 0
        self._marks = MarksFile(path, self._clock)
        if self._first is None:
            self._first = path
        else:
            self._later.append(path)
        return True

    def _rotate(self) -> None:
        self._close()
        if self._open() and len(self._later) >= KEPT:
            # Emptied, not removed: the number stays taken, so no later file gets the name of one read already.
            old = self._later.popleft()
            with contextlib.suppress(OSError):  # the disk has just become read-only
                os.truncate(old, 0)
                old.with_suffix(".marks").unlink(missing_ok=True)

    def _close(self) -> None:
        if self._marks is not None:
            self._marks.close()
        if self._file is not None:
            os.close(self._file)
            self._file = None

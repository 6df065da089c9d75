"""What ranks print: read from their pipes by the supervisor, kept in capped files, the tail at hand.

A rank writes into a pipe that the supervisor drains, never into an SSH channel: a console that stops reading can't
freeze it. `rank_N.out` is closed at `cap` bytes and the next number opened; the first file and the newest ones stay.
"""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from trainer.folders import open_next

CAP_BYTES = 8 * 1024 * 1024
KEPT = 4
TAIL_LINES = 100  # a traceback through several libraries


class Output:
    """The files of one process's output. `name` is "rank_3" or "coordinator"."""

    def __init__(self, folder: Path, name: str, pipe: int, *, cap: int = CAP_BYTES) -> None:
        self.pipe = pipe
        self.closed = False
        self._folder = folder
        self._name = name
        self._cap = cap
        self._written = 0
        self._file, path = open_next(folder, name, ".out")
        self._later: deque[Path] = deque()
        self._first = path
        self._tail: deque[bytes] = deque(maxlen=TAIL_LINES)
        self._partial = b""

    def pump(self) -> bool:
        """Move what is in the pipe to the file, without blocking. False when the other side has closed."""
        while True:
            try:
                data = os.read(self.pipe, 65536)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._keep(data)

    def close(self) -> None:
        self.closed = True
        if self._partial:
            self._append(b"\n")  # whole lines only: followers read up to the last newline
        os.close(self._file)
        os.close(self.pipe)

    def tail(self) -> str:
        """The last lines, to show with an error."""
        lines = [*self._tail, self._partial] if self._partial else [*self._tail]
        return b"\n".join(lines).decode(errors="replace")

    def _keep(self, data: bytes) -> None:
        *lines, self._partial = (self._partial + data).split(b"\n")
        self._partial = self._partial[-65536:]
        self._tail.extend(lines)
        self._append(data)

    def _append(self, data: bytes) -> None:
        if self._written > self._cap and b"\n" in data:
            head, _, data = data.partition(b"\n")
            self._store(head + b"\n")
            self._rotate()
        self._store(data)

    def _store(self, data: bytes) -> None:
        try:
            self._written += os.write(self._file, data)
        except OSError:  # a full disk: output is lost, the run is not
            self._written += len(data)

    def _rotate(self) -> None:
        os.close(self._file)
        self._file, path = open_next(self._folder, self._name, ".out")
        self._written = 0
        self._later.append(path)
        if len(self._later) >= KEPT:
            # Emptied, not removed: the number stays taken, so no later file gets the name of one read already.
            os.truncate(self._later.popleft(), 0)

"""Files of checkpoints under way: written beside their place, told apart from what a crash has left, put in place.

Several ranks of a host may write into one folder at once. Whoever writes holds a lock on its file, which ends with its
process: so what nobody holds is left over, also where processes can't see each other's numbers, as in containers.

    >>> with writing(folder / "held.pt") as part:
    ...     part.write(b"...")
    ...     with alone(folder):
    ...         os.replace(part.name, folder / "held.pt")
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from motley.trainer.host.file_lock import locked

PIECE, SYNC_EVERY = 4 << 20, 64 << 20  # bytes


@contextlib.contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A file beside `path` that is this process's alone; what of it is not renamed by the end is removed."""
    while True:
        part = path.parent / f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part"
        with part.open("x+b") as file:
            with contextlib.suppress(OSError):  # a disk without locks: then nobody clears up there either
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is(part, file):  # cleared away before it was locked
                continue
            try:
                yield file
            finally:
                with contextlib.suppress(OSError):  # such as no such folder: another error has said so
                    part.unlink(missing_ok=True)
            return


def alone(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Nobody else puts a checkpoint in its place in this folder meanwhile."""
    return locked(folder / ".lock", needed=False)


def left_over(folder: Path) -> list[Path]:
    """Removes what was being written by processes that are gone; says which files."""
    removed = []
    for part in folder.glob(".*.pt.*.part"):
        with contextlib.suppress(OSError), part.open("rb") as file:  # it is in use, or gone already
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink()
            removed.append(part)
    return removed


class Watched:
    """What `torch.save` writes to: in pieces, of which somebody hears, and which are on the disk before there are many.

    A disk that is slow shows that it is alive, one that is gone does not.
    """

    def __init__(self, file: IO[bytes], alive: Callable[[], object]) -> None:
        self._file = file
        self._alive = alive
        self._unsynced = 0

    def write(self, data: bytes | memoryview) -> int:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), PIECE):
            piece = view[start : start + PIECE]
            self._file.write(piece)
            self._unsynced += len(piece)
            if self._unsynced >= SYNC_EVERY:
                self.flush()
                os.fsync(self._file.fileno())
                self._unsynced = 0
            self._alive()
        return len(view)

    def flush(self) -> None:
        self._file.flush()


def _is(path: Path, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False

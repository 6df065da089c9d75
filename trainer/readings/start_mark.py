"""Where a script was started anew: what it prints from then on is of another training, which may count from 0 again.

Who starts it calls `wait_until_heard` and `mark_start` when the one before has ended; who reads its output looks at
`start_of`: something else than before.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios
import time

HEARD_S, LOOK_S = 1.0, 0.005


def wait_until_heard(output: int) -> None:
    """Until the other side has read what is in a pipe, at most `HEARD_S`. What is no pipe is not waited for."""
    deadline = time.monotonic() + HEARD_S
    try:
        while struct.unpack("i", fcntl.ioctl(output, termios.FIONREAD, b"\0\0\0\0"))[0]:
            if time.monotonic() > deadline:
                return
            time.sleep(LOOK_S)
    except OSError:
        return


def mark_start(folder: str | os.PathLike[str], *, member: int, attempt: int) -> None:
    """Raises OSError where nothing can be written."""
    with open(_path(folder, member), "w") as file:
        file.write(str(attempt))


def start_of(folder: str | os.PathLike[str], *, member: int) -> str:
    """Which start it is; empty where none was marked."""
    try:
        with open(_path(folder, member)) as file:
            return file.read(20)
    except OSError:
        return ""


def _path(folder: str | os.PathLike[str], member: int) -> str:
    return os.path.join(folder, f"script_{member}.start")

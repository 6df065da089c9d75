"""Ports of 127.0.0.1 that stay free until a test listens there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import tempfile
from pathlib import Path

FIRST, LAST = 20_000, 32_000  # below those that the system gives to whoever connects just then


def free_pair() -> int:
    """A port that is free, as is the next one. Tests that run at the same time, also those of another process, have
    different ones: each pair is given out again when all others were."""
    for _ in range(FIRST, LAST, 2):
        port = _next()
        with contextlib.suppress(OSError), socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 1))
            return port
    raise AssertionError("no two free ports in a row")


def _next() -> int:
    """The pair after the one that was given out last on this machine."""
    counter = Path(tempfile.gettempdir()) / f"motley-tests-ports-{os.getuid()}"
    with open(os.open(counter, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = file.read()
        last = int(text) if text.isdecimal() else FIRST - 2
        port = last + 2 if FIRST <= last + 2 < LAST else FIRST
        file.seek(0)
        file.truncate()
        file.write(str(port))
    return port

"""Ports of 127.0.0.1 that stay free until a test listens there."""

from __future__ import annotations

import contextlib
import random
import socket


def free_pair() -> int:
    """A port that is free, as is the next one; below those that the system gives to whoever connects just then."""
    for port in random.SystemRandom().sample(range(20_000, 32_000, 2), 100):
        with contextlib.suppress(OSError), socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 1))
            return port
    raise AssertionError("no two free ports in a row")

"""Where the pod that leads is, as a number: its name is looked up until it has one and its coordinator answers.

Pods start in any order, minutes apart where an image has to be fetched. Standard library only.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Sequence

PAUSE_S = 1.0  # between two tries
ANSWER_S = 3.0


class Unmet(OSError):
    """Nobody was there in time."""


def own_address(given: str) -> str:
    """Of this pod: what the manifest has Kubernetes say, else what its own name stands for."""
    return given or look_up(socket.gethostname())


def look_up(name: str) -> str:
    """Raises OSError when the name stands for nothing yet."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return str(min(found, key=lambda one: one[0] != socket.AF_INET)[4][0])


def answers(address: str, port: int) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection((address, port), timeout=ANSWER_S).close()
    except OSError:
        return False
    return True


def found(names: Sequence[str], port: int) -> tuple[str, str] | None:
    """The first of these under which something listens there, and its address."""
    for name in names:
        with contextlib.suppress(OSError):
            address = look_up(name)
            if answers(address, port):
                return name, address
    return None


def meet(
    names: Sequence[str],
    port: int,
    *,
    patience_s: float,
    wait: Callable[[float], bool],
    say: Callable[[str], object],
) -> tuple[str, str]:
    """The leader's name and address, once something listens there: the first of `names`, or one of the others, which
    may have taken its place. `wait` is true when the pod is to end meanwhile.

    Raises `Unmet` after so long, or when the pod is to end.
    """
    began, told = time.monotonic(), ""
    while True:
        try:
            address = look_up(names[0])
            socket.create_connection((address, port), timeout=ANSWER_S).close()
        except OSError as error:
            if (other := found(names[1:], port)) is not None:
                return other
            why = f"{names[0]}:{port} does not answer yet ({error.strerror or error})"
        else:
            return names[0], address
        if why != told:
            say(f"waiting for the pod that leads: {why}")
            told = why
        if time.monotonic() - began > patience_s:
            raise Unmet(f"the pod that leads was not there within {patience_s:.0f} s: {why}")
        if wait(PAUSE_S):
            raise Unmet("the pod was asked to end before the run had begun")

"""Only the connections of the group are ended: in a user's process there are others that are younger."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from motley.trainer.rank.group_sockets import GroupSockets


@pytest.fixture
def ends() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def connected(ends: contextlib.ExitStack, address: str) -> socket.socket:
    """A connection to this address."""
    with socket.socket() as listener:
        listener.bind((address, 0))
        listener.listen()
        ours = ends.enter_context(socket.create_connection(listener.getsockname()))
        ends.enter_context(listener.accept()[0])
        return ours


def pair(ends: contextlib.ExitStack) -> list[socket.socket]:
    """As a DataLoader's workers have them."""
    return [ends.enter_context(one) for one in socket.socketpair()]


def is_shut(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        return one.recv(1) == b""
    except BlockingIOError:
        return False


def test_only_connections_to_members_that_were_opened_with_the_group_are_ended(ends: contextlib.ExitStack) -> None:
    sockets = GroupSockets(keep=lambda: -1)
    older = connected(ends, "127.0.0.1")
    sockets.about_to_open()
    group = connected(ends, "127.0.0.1")
    tracker = connected(ends, "127.0.0.2")  # of another thread, meanwhile
    workers = pair(ends)
    sockets.opened({"127.0.0.1"})
    younger = connected(ends, "127.0.0.1")
    assert sockets.shut() >= 1
    assert is_shut(group)
    assert not any(map(is_shut, (older, tracker, younger, *workers)))


def test_while_the_group_is_being_made_every_younger_connection_is_its_own(ends: contextlib.ExitStack) -> None:
    sockets = GroupSockets(keep=lambda: -1)
    sockets.about_to_open()
    group = connected(ends, "127.0.0.1")
    workers = pair(ends)
    sockets.shut()
    assert is_shut(group)
    assert not any(map(is_shut, workers))

"""Conversations in one thread: one that has to pause waits for nothing else, and burns no core."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Generator
from typing import Any

import pytest

from motley.trainer.bootstrap import event_loop as there
from motley.trainer.bootstrap.event_loop import PAUSE, READ, EventLoop
from motley.trainer.bootstrap.reachability import letting_in
from tests.support.no_more_files import no_more_files


@pytest.fixture
def caller_waits() -> Generator[socket.socket, None, None]:
    """A listening socket that is ready all the time."""
    with socket.socket() as listener, socket.socket() as caller:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        caller.connect(listener.getsockname())
        yield listener


def test_one_that_pauses_is_not_looked_at_until_then(
    caller_waits: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(there, "PAUSE_S", 0.05)
    turns, seen = EventLoop(), []

    def steps() -> Generator[int, None, str]:
        for word in ("first", "second"):
            yield READ
            seen.append(word)
            yield PAUSE
        return "over"

    turns.take(caller_waits, steps(), within_s=60.0, over=seen.append)
    turns.wait()
    assert (seen, len(turns._selector.get_map())) == (["first"], 0)  # its socket wakes nobody
    turns.wait()  # the pause is over
    assert (seen, len(turns._selector.get_map())) == (["first"], 1)
    turns.wait()
    turns.wait()
    assert (seen, turns.going) == (["first", "second", "over"], False)


def test_a_host_that_may_open_no_further_connection_pauses_until_it_may() -> None:
    turns = EventLoop()
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as caller:
        caller.sendall(b"token\n")
        steps = letting_in(listener, turns, "token", "box1")
        assert next(steps) == READ
        with no_more_files():
            assert [next(steps) for _ in range(4)] == [PAUSE, READ, PAUSE, READ]
        assert next(steps) == READ
        while turns.going:
            turns.wait()
        assert caller.recv(100) == b"box1\n"


@pytest.mark.parametrize(
    ("code", "event"),
    [(errno.EMFILE, PAUSE), (errno.ENFILE, PAUSE), (errno.ENOBUFS, PAUSE), (errno.ECONNABORTED, READ)],
)
def test_of_errors_of_a_listener_those_that_stay_are_waited_out(code: int, event: int) -> None:
    class Full:
        def accept(self) -> Any:
            raise OSError(code, os.strerror(code))

    steps = letting_in(Full(), EventLoop(), "token", "box1")  # type: ignore[arg-type]
    assert [next(steps), next(steps)] == [READ, event]
    if event == PAUSE:
        assert next(steps) == READ

"""The coordinator's sockets: who may speak to it, and whose words these are. What they mean is not known here.

A connection opens with a challenge on both sides, so that neither a stranger nor another run's rank gets in, and a rank
knows that it speaks to its own coordinator:

    coordinator: {"nonce": A}
    rank:        {"member": 2, "host": "box1", "nonce": B, "proof": hmac(token, "rank 2 box1 A B")}
    coordinator: {"proof": hmac(token, "coordinator A B")}

After that a message is one line of JSON; an empty line is a sign of life.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import socket
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol

from trainer import said
from trainer.handshake import keep_alive, nonce, proof
from trainer.journal import Journal
from trainer.lines import Line

GREET_S = 10.0
MESSAGE_LIMIT = 4 * 1024 * 1024
GOODBYE_S = 1.0
ERROR_CHARS = 300  # of what a line was ended for


class Listener(Protocol):
    """Who hears the members: the coordinator."""

    def called(self, line: Line, /) -> None:
        """A member has called, perhaps once more."""

    def take(self, line: Line, message: dict[str, Any], /) -> None:
        """A member says something. Raises KeyError, TypeError or ValueError when it makes no sense."""

    def hung_up(self, line: Line, /) -> None:
        """A member's connection is gone."""


class Switchboard:
    """`async with Switchboard(...)`: serves on the listening socket until it is left."""

    def __init__(
        self, listening: socket.socket, lines: Mapping[int, Line], token: str, journal: Journal, hears: Listener
    ) -> None:
        self._listening = listening
        self.lines = lines
        self.token = token
        self.journal = journal
        self.hears = hears
        self.calls: set[_Call] = set()
        self.quiet = asyncio.Event()  # nobody is connected

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Call(self), sock=self._listening)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up; what was sent before still goes out."""
        self._server.close()
        for call in self.calls:
            call.close()
        if self.calls:
            self.quiet.clear()
            with contextlib.suppress(asyncio.TimeoutError):  # somebody does not read
                await asyncio.wait_for(self.quiet.wait(), GOODBYE_S)

    def warn(self, text: str) -> None:
        self.journal.write("note", text, "warning")


class _Call(asyncio.Protocol):
    """One connection: greet, then take messages until it closes. Not a stream: with a thousand members, each of which
    gives a sign of life twice a second, a task and its wake-ups for each would take most of the coordinator's time."""

    def __init__(self, board: Switchboard) -> None:
        self._board = board
        self._line: Line | None = None  # None: who calls has not proved yet who it is
        self._buffer = bytearray()
        self._nonce = nonce()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._board.calls.add(self)
        keep_alive(transport.get_extra_info("socket"))
        transport.write(json.dumps({"nonce": self._nonce}).encode() + b"\n")
        self._patience = asyncio.get_running_loop().call_later(GREET_S, transport.close)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > MESSAGE_LIMIT:
            self._refuse("a line without an end")
        if b"\n" not in data:
            return
        *texts, rest = self._buffer.split(b"\n")
        self._buffer = rest
        for text in texts:
            if self._transport.is_closing():  # it has called anew, or is not listened to any more
                return
            try:
                message = json.loads(text)
                if not isinstance(message, dict):
                    raise TypeError(f"{said.short(message)} is no message")
                if self._line is None:
                    self._greet(message)
                else:
                    self._board.hears.take(self._line, message)
            except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
                self._refuse(repr(error)[:ERROR_CHARS])

    def connection_lost(self, _error: Exception | None) -> None:
        """Its process has ended, its host does not answer, or nobody listens to it any more."""
        board, line = self._board, self._line
        self._patience.cancel()
        board.calls.discard(self)
        if line is not None and line.transport is self._transport:
            line.transport = None
            board.hears.hung_up(line)
        if not board.calls:
            board.quiet.set()

    def close(self) -> None:
        """What was sent before still goes out."""
        self._transport.close()

    def _greet(self, hello: Mapping[str, Any]) -> None:
        """Take the line of a member that holds the token; an older connection of it is closed."""
        board = self._board
        member, host, theirs = said.whole(hello["member"]), said.name(hello["host"]), said.name(hello["nonce"])
        expected = proof(board.token, "rank", member, host, self._nonce, theirs)
        if not hmac.compare_digest(expected, said.name(hello["proof"])):
            board.warn("a caller without the run's token was refused")
            self._transport.close()
            return
        if member not in board.lines or board.lines[member].member.host != host:
            board.warn(f"rank {member} on {host} does not belong to this run: it was refused")
            self._transport.close()
            return
        self._patience.cancel()
        self._line = line = board.lines[member]
        line.hang_up()
        line.transport, line.ended = self._transport, None
        line.send(proof=proof(board.token, "coordinator", self._nonce, theirs))
        board.hears.called(line)

    def _refuse(self, why: str) -> None:
        name = "a caller" if self._line is None else f"rank {self._line.member.member}"
        self._board.warn(f"{name}: connection to the coordinator: {why}")
        self._transport.close()

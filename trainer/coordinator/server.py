"""The coordinator's sockets: who may speak to it, and whose words these are. What they mean is not known here.

A connection opens with a challenge on both sides, so that neither a stranger nor another run's rank gets in, and a rank
knows that it speaks to its own coordinator:

    coordinator: {"nonce": A}
    rank:        {"member": 2, "host": "box1", "nonce": B, "proof": hmac(token, "rank 2 box1 A B")}
    coordinator: {"proof": hmac(token, "coordinator A B")}

The process of a script that has called `motley.session()` says `"session": true` besides, and "session" for "rank" in
its proof: it is another caller than the process that has started it for the same member.
After that a message is one line of JSON; an empty line is a sign of life.

Anybody on the network can call. Who has not proved yet that it holds the token costs little: `GREETING_LIMIT` bytes,
one of `STRANGERS` open calls beside one for each member (the oldest makes way), and a line a minute in the journal for
all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hmac
import json
import os
import socket
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol

from motley.trainer.contract import validate
from motley.trainer.contract.handshake import keep_alive, nonce, proof
from motley.trainer.coordinator.members import MemberConnection
from motley.trainer.coordinator.refusals import EVERY_S, Refusals
from motley.trainer.host.journal import Journal

GREET_S = 10.0
GREETING_LIMIT, MESSAGE_LIMIT = 4 * 1024, 4 * 1024 * 1024  # bytes of a line, before the proof and after it
STRANGERS = 64
ACCEPTS = 16  # calls that are taken before others have their turn
PAUSE_S = 1.0  # when the system grants no further connection
GOODBYE_S = 1.0
READ_BYTES = 65536
ERROR_CHARS = 300  # of what a connection was ended for


class Listener(Protocol):
    """Who hears the members: the coordinator."""

    @property
    def callers(self) -> int:
        """How many may be connected at once."""

    def place(self, member: int, host: str, /, *, session: bool) -> MemberConnection | None:
        """Where a caller belongs that holds the token; None when it does not belong here."""

    def connected(self, connection: MemberConnection, /) -> None:
        """A member has called, perhaps once more."""

    def received(self, connection: MemberConnection, message: dict[str, Any], /) -> None:
        """A member says something. Raises KeyError, TypeError or ValueError when it makes no sense."""

    def disconnected(self, connection: MemberConnection, /) -> None:
        """A member's connection is gone."""


class CoordinatorServer:
    """`async with CoordinatorServer(...)`: serves on the listening socket until it is left."""

    def __init__(
        self,
        listening: socket.socket,
        token: str,
        journal: Journal,
        hears: Listener,
    ) -> None:
        self._listening = listening
        self.token = token
        self.journal = journal
        self.hears = hears  # another one may take its place
        self.calls: set[_Call] = set()
        self.strangers: dict[_Call, None] = {}  # calls that have proved nothing yet, the oldest first
        self.quiet = asyncio.Event()  # nobody is connected
        self._refusals = Refusals()
        self._opening: set[asyncio.Task[Any]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    async def __aenter__(self) -> CoordinatorServer:
        self._loop = asyncio.get_running_loop()
        self._listening.setblocking(False)
        self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up; what was sent before still goes out."""
        self._loop.remove_reader(self._listening)
        self._listening.close()
        for timer in self._timers.values():
            timer.cancel()
        if told := self._refusals.rest(now=self._loop.time()):
            self.warn(told)
        for call in (*self.calls, *self.strangers):
            call.close()
        if self.calls:
            self.quiet.clear()
            with contextlib.suppress(asyncio.TimeoutError):  # somebody does not read
                await asyncio.wait_for(self.quiet.wait(), GOODBYE_S)

    def warn(self, text: str) -> None:
        self.journal.write("note", text, "warning")

    def refuse(self, why: str) -> None:
        """A caller that has proved nothing: it is told of as one of many."""
        if told := self._refusals.add(why, now=self._loop.time()):
            self.warn(told)
            self._later("refusals", EVERY_S, self._tell_refusals)

    def _tell_refusals(self) -> None:
        if told := self._refusals.look(now=self._loop.time()):
            self.warn(told)
        if self._refusals.due_at is not None:
            self._later("refusals", max(0.0, self._refusals.due_at - self._loop.time()), self._tell_refusals)

    def _later(self, name: str, seconds: float, act: Callable[[], None]) -> None:
        self._timers[name] = self._loop.call_later(seconds, act)

    def _listen(self) -> None:
        self._loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTS):
            try:
                accepted, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # too many open files, or no memory: trying at once would only burn a core
                self.refuse(f"callers have to wait: {error}")
                self._loop.remove_reader(self._listening)
                self._later("listen", PAUSE_S, self._listen)
                return
            self._take(accepted)

    def _take(self, accepted: socket.socket) -> None:
        while len(self.strangers) >= STRANGERS + self.hears.callers:
            oldest = next(iter(self.strangers))
            del self.strangers[oldest]
            oldest.make_way()
        accepted.setblocking(False)
        call = _Call(self)
        self.strangers[call] = None
        opening = self._loop.create_task(self._loop.connect_accepted_socket(lambda: call, accepted))
        self._opening.add(opening)
        opening.add_done_callback(functools.partial(self._opened, call, accepted))

    def _opened(self, call: _Call, accepted: socket.socket, opening: asyncio.Task[Any]) -> None:
        self._opening.discard(opening)
        if opening.cancelled() or opening.exception() is not None:
            self.strangers.pop(call, None)
            accepted.close()


class _Call(asyncio.Protocol):
    """One connection: greet, then take messages until it closes. Not a stream: with a thousand members, each of which
    gives a sign of life twice a second, a task and its wake-ups for each would take most of the coordinator's time."""

    def __init__(self, server: CoordinatorServer) -> None:
        self._server = server
        self._connection: MemberConnection | None = None  # None: who calls has not proved yet who it is
        self._buffer = bytearray()
        self._nonce = nonce()
        self._transport: asyncio.Transport | None = None  # None: not connected yet
        self._patience: asyncio.TimerHandle | None = None
        self._unwanted = False  # it has made way for others, or the run is over

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.calls.add(self)
        if self._unwanted:
            transport.abort()
            return
        try:
            keep_alive(transport.get_extra_info("socket"))
        except OSError:  # it has gone again
            transport.abort()
            return
        transport.write(json.dumps({"nonce": self._nonce}).encode() + b"\n")
        self._patience = asyncio.get_running_loop().call_later(GREET_S, transport.close)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > (GREETING_LIMIT if self._connection is None else MESSAGE_LIMIT):
            self._refuse("a line without an end")
            self._buffer.clear()
            return
        if b"\n" not in data:
            return
        *texts, rest = self._buffer.split(b"\n")
        self._buffer = rest
        for text in texts:
            if not self._is_heard():
                return
            try:
                message = json.loads(text)
                if not isinstance(message, dict):
                    raise TypeError(f"{validate.short(message)} is no message")
                if self._connection is None:
                    self._greet(message)
                else:
                    self._server.hears.received(self._connection, message)
            except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
                self._refuse(repr(error)[:ERROR_CHARS])

    def connection_lost(self, error: Exception | None) -> None:
        """Its process has ended, its host does not answer, or nobody listens to it any more."""
        server, connection = self._server, self._connection
        if error is not None and self._is_heard():
            self._take_the_rest()
        if self._patience is not None:
            self._patience.cancel()
        server.calls.discard(self)
        server.strangers.pop(self, None)
        if connection is not None and connection.transport is self._transport:
            connection.transport = None
            server.hears.disconnected(connection)
        if not server.calls:
            server.quiet.set()

    def _is_heard(self) -> bool:
        """Its member has not called anew, and it is not unwanted. What it said before the connection broke counts."""
        if self._unwanted or self._transport is None:
            return False
        return self._connection is None or self._connection.transport is self._transport

    def _take_the_rest(self) -> None:
        """Who has hung up while something was sent to it has broken the connection; its last word came before that, and
        asyncio does not read it any more."""
        assert self._transport is not None
        with contextlib.suppress(OSError):
            while data := os.read(self._transport.get_extra_info("socket").fileno(), READ_BYTES):
                self.data_received(data)

    def close(self) -> None:
        """What was sent before still goes out."""
        self._unwanted = True
        if self._transport is not None:
            self._transport.close()

    def make_way(self) -> None:
        """There are newer callers. Nothing of it is kept."""
        self._unwanted = True
        self._server.refuse("a caller that had not shown the run's token made way for others")
        if self._transport is not None:
            self._transport.abort()

    def _greet(self, hello: Mapping[str, Any]) -> None:
        """Take the place of a member that holds the token; an older connection of it is closed."""
        server = self._server
        member, host, theirs = (
            validate.whole(hello["member"]),
            validate.name(hello["host"]),
            validate.name(hello["nonce"]),
        )
        session = hello.get("session") is True
        expected = proof(server.token, "session" if session else "rank", member, host, self._nonce, theirs)
        if not hmac.compare_digest(expected, validate.name(hello["proof"])):
            server.refuse("a caller without the run's token was refused")
            self.close()
            return
        connection = server.hears.place(member, host, session=session)
        if connection is None:
            self.close()
            return
        if self._patience is not None:
            self._patience.cancel()
        server.strangers.pop(self, None)
        self._connection = connection
        connection.close()
        connection.transport, connection.ended = self._transport, None
        connection.send(proof=proof(server.token, "coordinator", self._nonce, theirs))
        server.hears.connected(connection)

    def _refuse(self, why: str) -> None:
        if self._connection is None:
            self._server.refuse(f"a caller: connection to the coordinator: {why}")
        else:
            self._server.warn(f"rank {self._connection.member.member}: connection to the coordinator: {why}")
        self.close()

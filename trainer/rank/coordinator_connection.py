"""One connection of a member to the coordinator, on which both have proved that they hold the run's token.

Standard library only. `trainer.rank.coordinator_client` makes a new one whenever the last is lost.

    call = Call.make(("10.0.0.1", 29500), spec, member=2, connect_s=5.0, greet_s=60.0)
    call.send(op="phase", phase="importing torch")
    for message in call.messages(silent_s=2.0): ...     # ends with the connection
"""

from __future__ import annotations

import contextlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from motley.trainer.contract.handshake import keep_alive, nonce, proof
from motley.trainer.contract.spec import Spec
from motley.trainer.contract.validate import name
from motley.trainer.light_dataclass import light_dataclass

GREETING_LIMIT, MESSAGE_LIMIT = 4 * 1024, 64 * 1024 * 1024  # bytes of a line, before the proof and after it
LEADER_GONE_S = 2.0  # of calling it in vain, after which ranks save what they have
REDIAL_S = 0.2  # between two calls
LEAST_S = 0.001  # a timeout of 0 would not wait at all


class JoinError(Exception):
    """The group can't be joined: no coordinator, a false one, or the others did not come. Says which."""


class NoAnswer(JoinError):
    """Somebody was there, and hung up, said nothing in time, or what no coordinator says."""


class RunOver(JoinError):
    """The run has ended, or this host was taken out of it."""

    def __init__(self, text: str, state: str) -> None:
        self.state = state
        super().__init__(text)


class CoordinatorLost(JoinError):
    """It was not to be reached for as long as a rank holds its state."""


@light_dataclass(frozen=True, slots=True, kw_only=True)
class Save:
    """A word for the main thread: the run waits, or its leader is gone, and the state belongs on a disk."""

    cut_off: bool


@light_dataclass(frozen=True, slots=True, kw_only=True)
class Redialled:
    """The same: the line was lost and is back, and what was said last has to be said again."""


@light_dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """The same: the last word is known, and this member may go."""


class CoordinatorConnection:
    """Sending is for any thread, `messages` for one."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._file = connection.makefile("rb")
        self._sending = threading.Lock()
        self.address = str(connection.getsockname()[0])  # our own, numeric, on the way to the coordinator

    @classmethod
    def make(
        cls,
        address: tuple[str, int],
        spec: Spec,
        *,
        member: int,
        connect_s: float,
        greet_s: float,
        session: bool = False,
    ) -> CoordinatorConnection:
        """`session`: for the script of the member, not for the process that has started it.

        Raises OSError when nobody is there, NoAnswer when whoever is there does not greet within `greet_s` seconds in
        all, JoinError when it is not this run's coordinator."""
        call = cls(socket.create_connection(address, timeout=connect_s))
        try:
            call._greet(address, spec, member, time.monotonic() + greet_s, session=session)
        except BaseException:
            call.hang_up()
            raise
        return call

    def fileno(self) -> int:
        """Of the socket; -1 once it is hung up."""
        return self._socket.fileno()

    def send(self, **message: Any) -> None:
        """What a lost connection does not carry is not said: `messages` ends, and the member calls again."""
        with self._sending, contextlib.suppress(OSError):
            self._socket.sendall(json.dumps(message).encode() + b"\n")

    def messages(self, silent_s: float) -> Iterator[dict[str, Any]]:
        """Until the coordinator hangs up, says what can't be read, or nothing for so long, not even a sign of life."""
        with contextlib.suppress(OSError, ValueError):
            self._socket.settimeout(silent_s)
            while text := self._file.readline(MESSAGE_LIMIT):
                if text == b"\n":
                    continue
                message = json.loads(text)
                if not isinstance(message, dict):
                    return
                yield message

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):  # the other side was first
            self._socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError, ValueError):  # a reader on another thread has it
            self._file.close()
        self._socket.close()

    def hand_over(self) -> None:
        """A process that was forked from this one has the connection now."""
        self._file.close()
        self._socket.close()

    def _greet(self, address: tuple[str, int], spec: Spec, member: int, deadline: float, *, session: bool) -> None:
        """Prove that we hold the run's token, and have the other side prove it. Until then it may be anybody."""
        where = f"{address[0]}:{address[1]}"
        try:
            keep_alive(self._socket)
            theirs = self._answer("nonce", deadline)
            ours = nonce()
            words = proof(spec.token, "session" if session else "rank", member, spec.host, theirs, ours)
            hello = {"member": member, "host": spec.host, "nonce": ours, "proof": words}
            hello |= {"session": True} if session else {}
            self._socket.sendall(json.dumps(hello).encode() + b"\n")
            answer = self._answer("proof", deadline)
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise NoAnswer(f"the coordinator at {where} did not answer: {error}") from error
        if not hmac.compare_digest(answer, proof(spec.token, "coordinator", theirs, ours)):
            raise JoinError(f"{where} is not this run's coordinator")

    def _answer(self, what: str, deadline: float) -> str:
        """A text in ASCII out of the next message.

        Raises OSError, LookupError, TypeError, ValueError or RecursionError.
        """
        while (line := self._line(deadline)) == b"":  # a sign of life
            pass
        message = json.loads(line)
        if not isinstance(message, dict):
            raise TypeError(f"it said {line[:80]!r}")
        text = name(message[what])
        if not text.isascii():
            raise ValueError(f"its {what} is none")
        return text

    def _line(self, deadline: float) -> bytes:
        """One line, and no byte more: what follows is for `messages`."""
        line = b""
        while len(line) < GREETING_LIMIT:
            self._socket.settimeout(max(LEAST_S, deadline - time.monotonic()))
            there = self._socket.recv(GREETING_LIMIT - len(line), socket.MSG_PEEK)
            if not there:
                raise ConnectionError("it hung up")
            if time.monotonic() > deadline:
                raise TimeoutError("it took too long")
            text, end, _ = there.partition(b"\n")
            line += self._socket.recv(len(text) + len(end))
            if end:
                return line[:-1]
        raise ValueError("it said a line without an end")


def call_again(
    make: Callable[[], CoordinatorConnection],
    *,
    closed: threading.Event,
    hold_s: float,
    cut_off: Callable[[], object],
) -> CoordinatorConnection | None:
    """Until the coordinator answers again; None once `closed` is set. `cut_off` is called when it takes longer.

    Raises CoordinatorLost after `hold_s`."""
    began, told = time.monotonic(), False
    while not closed.is_set():
        if not told and time.monotonic() - began > LEADER_GONE_S:
            told = True
            cut_off()
        try:
            return make()
        except (OSError, JoinError) as error:
            if time.monotonic() - began > hold_s:
                raise CoordinatorLost(f"the run's leader was not to be reached for {hold_s:.0f} s") from error
            closed.wait(REDIAL_S)
    return None

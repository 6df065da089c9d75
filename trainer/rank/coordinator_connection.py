"""One connection of a member to the coordinator, on which both have proved that they hold the run's token.

Standard library only. `trainer.membership` makes a new one whenever the last is lost.

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
from collections.abc import Iterator
from typing import Any

from trainer.handshake import keep_alive, nonce, proof
from trainer.spec import Spec


class JoinError(Exception):
    """The group can't be joined: no coordinator, a false one, or the others did not come. Says which."""


class Call:
    """Sending is for any thread, `messages` for one."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._file = connection.makefile("rb")
        self._sending = threading.Lock()
        self.address = str(connection.getsockname()[0])  # our own, numeric, on the way to the coordinator

    @classmethod
    def make(cls, address: tuple[str, int], spec: Spec, *, member: int, connect_s: float, greet_s: float) -> Call:
        """Raises OSError when nobody is there, JoinError when it is not this run's coordinator or does not answer."""
        call = cls(socket.create_connection(address, timeout=connect_s))
        try:
            call._greet(address, spec, member, greet_s)
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
            while text := self._file.readline():
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

    def _greet(self, address: tuple[str, int], spec: Spec, member: int, within_s: float) -> None:
        """Prove that we hold the run's token, and have the other side prove it."""
        keep_alive(self._socket)
        self._socket.settimeout(within_s)
        theirs = str(self._answer().get("nonce"))
        ours = nonce()
        words = proof(spec.token, "rank", member, spec.host, theirs, ours)
        hello = {"member": member, "host": spec.host, "nonce": ours, "proof": words}
        self._socket.sendall(json.dumps(hello).encode() + b"\n")
        answer = str(self._answer().get("proof"))
        if not hmac.compare_digest(answer, proof(spec.token, "coordinator", theirs, ours)):
            raise JoinError(f"{address[0]}:{address[1]} is not this run's coordinator")

    def _answer(self) -> dict[str, Any]:
        while True:
            try:
                line = self._file.readline()
                if line == b"\n":  # a sign of life
                    continue
                message = json.loads(line)
            except (OSError, ValueError) as error:
                raise JoinError(f"the coordinator did not answer: {error}") from error
            if not isinstance(message, dict):
                raise JoinError(f"the coordinator answered {line[:80]!r}")
            return message

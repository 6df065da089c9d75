"""A rank's side of the group: its line to the coordinator, from the first hello to the last word.

Standard library only: the rank says hello before it imports torch, so that the others know what it is doing.

>>> line = Membership.dial(spec, member=2, deadline_s=60)
>>> line.phase("importing torch")
>>> line.ready(times={"import_s": 4.2}).rank
2
"""

from __future__ import annotations

import contextlib
import hmac
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainer.handshake import keep_alive, proof
from trainer.spec import Spec


class JoinError(Exception):
    """The group can't be joined: no coordinator, a false one, or the others did not come. Says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One generation as a member sees it. `store` is (address, port) of rank 0's TCPStore."""

    generation: int
    rank: int
    world_size: int
    store: tuple[str, int]


class Membership:
    """The connection of one member. Calls block; each has a bound."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._file = connection.makefile("rb")

    @classmethod
    def dial(cls, spec: Spec, *, member: int, deadline_s: float) -> Membership:
        """Call the coordinator until it answers, at most `deadline_s`. Raises JoinError."""
        deadline = time.monotonic() + deadline_s
        address = (spec.leader_address, spec.port)
        while True:
            try:
                connection = socket.create_connection(address, timeout=5.0)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise JoinError(
                        f"no coordinator at {address[0]}:{address[1]} after {deadline_s:.0f} s ({error}): is a "
                        f"firewall between this host and {spec.leader}?"
                    ) from error
                time.sleep(0.1)
        keep_alive(connection)
        connection.settimeout(deadline_s)
        line = cls(connection)
        try:
            line._greet(spec, member)
        except BaseException:
            line.close()
            raise
        return line

    def _greet(self, spec: Spec, member: int) -> None:
        """Prove that we hold the run's token, and have the other side prove it."""
        theirs = str(self._receive().get("nonce"))
        ours = secrets.token_hex(16)
        self._send(member=member, nonce=ours, proof=proof(spec.token, "rank", member, theirs, ours))
        answer = str(self._receive().get("proof"))
        if not hmac.compare_digest(answer, proof(spec.token, "coordinator", theirs, ours)):
            raise JoinError(f"{spec.leader_address}:{spec.port} is not this run's coordinator")

    def phase(self, name: str) -> None:
        self._send(op="phase", phase=name)

    def ready(self, *, times: dict[str, float], store: tuple[str, int] | None = None) -> Group:
        """Say that this member can join, wait for the group. Raises JoinError when the coordinator gives up.

        The wait has no bound of its own: the coordinator's `join_timeout_s` ends it, or the loss of the connection.
        """
        self._send(op="ready", times=times, store=store)
        self._socket.settimeout(None)
        message = self._receive()
        if message["op"] == "give_up":
            raise JoinError(str(message["text"]))
        store = (str(message["store"][0]), int(message["store"][1]))
        return Group(
            generation=int(message["generation"]),
            rank=int(message["rank"]),
            world_size=int(message["world_size"]),
            store=store,
        )

    def joined(self) -> None:
        self._send(op="joined")

    def watch(self, over: Callable[[str], None]) -> None:
        """From now on, call `over` with the reason when the coordinator ends the run, or its host does not answer.

        It is called on a thread of its own: the main thread may be stuck in a collective that never ends. A coordinator
        that has only gone (its process died, its host answers) ends nothing.
        """

        def listen() -> None:
            try:
                while line := self._file.readline():
                    message = json.loads(line)
                    if message.get("op") == "over":
                        over(str(message["text"]))
            except TimeoutError:
                over("the leader's host does not answer")
            except (OSError, ValueError):  # gone: training does not need it
                return

        threading.Thread(target=listen, name="membership", daemon=True).start()

    def report(self, **figures: Any) -> None:
        """Rank 0's figures for the summary: see `trainer.summary.Ledger.take_report`."""
        self._send(op="report", **figures)

    def ended(self, state: str) -> None:
        """The last word."""
        self._send(op="ended", state=state)
        self.close()

    def close(self) -> None:
        """Hang up without a word."""
        with contextlib.suppress(OSError):  # the other side was first
            self._socket.shutdown(socket.SHUT_RDWR)
        self._file.close()
        self._socket.close()

    def _send(self, **message: Any) -> None:
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise JoinError(f"the connection to the coordinator is gone: {error}") from error

    def _receive(self) -> dict[str, Any]:
        try:
            line = self._file.readline()
            message = json.loads(line)
        except (OSError, ValueError) as error:
            raise JoinError(f"the coordinator did not answer: {error}") from error
        if not isinstance(message, dict):
            raise JoinError(f"the coordinator answered {line[:80]!r}")
        return message

"""The coordinator's sockets: who may speak to it, and whose words these are. What they mean is not known here.

A connection opens with a challenge on both sides, so that neither a stranger nor another run's rank gets in, and a rank
knows that it speaks to its own coordinator:

    coordinator: {"nonce": A}
    rank:        {"member": 2, "nonce": B, "proof": hmac(token, "rank 2 A B")}
    coordinator: {"proof": hmac(token, "coordinator A B")}

After that a message is one line of JSON; an empty line is a sign of life.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import socket
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol

from trainer.handshake import keep_alive, proof
from trainer.journal import Journal
from trainer.lines import Line

GREET_S = 10.0
MESSAGE_LIMIT = 4 * 1024 * 1024


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
        self._lines = lines
        self._token = token
        self._journal = journal
        self._hears = hears
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> None:
        self._server = await asyncio.start_server(self._serve, sock=self._listening, limit=MESSAGE_LIMIT)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up; what was sent before still goes out."""
        for line in self._lines.values():
            if line.writer is not None:
                line.writer.close()
        self._server.close()
        if self._serving:
            await asyncio.wait(self._serving, timeout=1.0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: greet, then take messages until it closes."""
        line: Line | None = None
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            line = await asyncio.wait_for(self._greet(reader, writer), timeout=GREET_S)
            if line is None:
                return
            self._hears.called(line)
            while text := await reader.readline():
                if line.writer is not writer:  # it has called anew, or is not listened to any more
                    return
                self._hears.take(line, json.loads(text))
        except (ConnectionError, TimeoutError):  # its process has ended, or its host does not answer
            pass
        except (OSError, ValueError, KeyError, TypeError, asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
            name = "a caller" if line is None else f"rank {line.member.member}"
            self._journal.write("note", f"{name}: connection to the coordinator: {error!r}", "warning")
        finally:
            if line is not None and line.writer is writer:
                line.writer = None
                self._hears.hung_up(line)
            writer.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Line | None:
        """The line of a member that holds the token; an older connection of it is closed."""
        keep_alive(writer.get_extra_info("socket"))
        ours = secrets.token_hex(16)
        writer.write(json.dumps({"nonce": ours}).encode() + b"\n")
        hello = json.loads(await reader.readline())
        member, theirs = int(hello["member"]), str(hello["nonce"])
        expected = proof(self._token, "rank", member, ours, theirs)
        if member not in self._lines or not hmac.compare_digest(expected, str(hello["proof"])):
            self._journal.write("note", "a caller without the run's token was refused", "warning")
            return None
        line = self._lines[member]
        line.hang_up()
        line.writer, line.ended = writer, None
        line.send(proof=proof(self._token, "coordinator", ours, theirs))
        return line

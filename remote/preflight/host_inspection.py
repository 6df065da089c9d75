"""A host in one conversation, before anything is sent there: what it is, and whether it reaches the others.

One process on the host answers all of it (`trainer.bootstrap.inspect_host`); it starts as soon as the connection is
there.

    >>> async with inspect_host(connection, "python3") as host:
    ...     found = await host.probe(Asked(leader="192.168.0.7"))
    >>> found.torch, found.interface
    ('2.13.0+cpu', 'eth0')
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from motley.remote.answers import Answer, made, using
from motley.remote.config.cluster import Host
from motley.remote.errors import OVERLOADED, CommandFailed, HostError
from motley.remote.hosts.reach import Connection, RemoteProcess
from motley.remote.preflight.probe import Asked, Cards, Probe, ahead, parse, too_old
from motley.remote.provision.bootstrap import Answers, conversation, no_answer

PROBE_S = 8.0
CARDS_S = 24.0  # for torch to be imported, and to say which cards it can use: the host gives it 20
LAST_S = 1.0  # for a process that has said its last word to end


class HostInspection:
    """Made by `inspect_host`."""

    def __init__(self, host: Host, python: str, process: RemoteProcess, answers: Answers) -> None:
        self._host = host
        self._python = python
        self._process = process
        self._answers = answers

    async def say(self, **words: Any) -> None:
        """Raises Unreachable when the connection is gone; a process that is gone takes nothing."""
        await self._process.write(json.dumps(words).encode() + b"\n")

    async def heard(self) -> Answer:
        """The next answer; empty when there is none. Raises Unreachable, CommandFailed."""
        return await anext(self._answers, Answer(self._host.name, "inspect_host", {}))

    async def probe(self, asked: Asked) -> Probe:
        """Raises CommandFailed when the Python is missing, broken, slow or too old, or Unreachable."""
        began = time.time()
        await self.say(probe=dataclasses.asdict(asked))
        try:
            answer = await asyncio.wait_for(self.heard(), PROBE_S)
        except asyncio.TimeoutError as error:
            cause = f"{self._python} did not answer within {PROBE_S:g} s"
            raise CommandFailed(self._host.name, cause, OVERLOADED) from error
        ended = time.time()
        if not answer:
            raise await self._no_answer()
        if set(answer) == {"python"}:
            raise CommandFailed(self._host.name, *too_old(self._python, str(answer["python"])))
        with using(self._host.name, "inspect_host"):
            clock_ahead_s = ahead(float(answer["clock"]), began + float(answer["took_s"]), ended)
            return parse({**answer, "clock_ahead_s": clock_ahead_s})

    async def cards(self) -> Cards:
        """Those that only the torch there knows. Raises CommandFailed, Unreachable."""
        await self.say(cards=True)
        try:
            answer = await asyncio.wait_for(self.heard(), CARDS_S)
        except asyncio.TimeoutError as error:
            cause = f"{self._python} did not say within {CARDS_S:g} s which cards its torch can use"
            raise CommandFailed(self._host.name, cause, OVERLOADED) from error
        if not answer:
            raise await self._no_answer()
        with using(self._host.name, "inspect_host"):
            return made(Cards, answer)

    async def over(self, within_s: float) -> None:
        """Close its stdin, and wait for it to end."""
        self._process.close_stdin()
        with contextlib.suppress(asyncio.TimeoutError, HostError):
            await asyncio.wait_for(self._process.wait(), within_s)

    async def _no_answer(self) -> CommandFailed:
        """Raises Unreachable when it is the connection."""
        try:
            code = await asyncio.wait_for(self._process.wait(), LAST_S)
        except asyncio.TimeoutError:
            code = 0
        return no_answer(self._host, self._python, code, self._process.stderr_tail, self._answers.stray)


@asynccontextmanager
async def inspect_host(connection: Connection, python: str, *, code: str = "") -> AsyncIterator[HostInspection]:
    """Leaving the block ends it. `code`: a run may come of it, whose supervisor is forked there and runs this code.

    Raises Unreachable, CommandFailed when the host starts no command.
    """
    async with conversation(connection, python, "inspect_host", code=code) as (process, answers):
        yield HostInspection(connection.host, python, process, answers)

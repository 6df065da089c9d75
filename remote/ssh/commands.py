"""What a connection does with the commands that it starts, whatever the way to the host: `run`, by way of `stream`.

>>> (await connection.run(["uname", "-s"], timeout_s=5)).stdout
b'Linux\\n'
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from motley.remote.config.cluster import Host
from motley.remote.errors import OVERLOADED, CommandFailed
from motley.remote.ssh.process import MAX_LINE, RemoteProcess


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a command ended. `code` is 128 + the signal's number when one ended it."""

    code: int
    stdout: bytes
    stderr: str  # made safe to show


class Commands(ABC):
    """The commands of one connection. `instance`: which of several machines the host is at the moment, one after the
    other, each with a home folder of its own; empty where it stays the same. `moves`: it may be another one with the
    next connection, and nobody knows whether homes are shared."""

    instance = ""
    moves = False

    def __init__(self, host: Host) -> None:
        self.host = host

    @abstractmethod
    def stream(self, argv: Sequence[str], *, cwd: str | None = None) -> AbstractAsyncContextManager[RemoteProcess]:
        """A running command whose output is read as it comes. Leaving the block ends the way to it."""

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float,
        cwd: str | None = None,
        sent: Callable[[int], object] = lambda _: None,
        most: int = MAX_LINE,
        take: Callable[[bytes], object] | None = None,
    ) -> Result:
        """Runs one command to its end. `cwd` is relative to the home folder, or absolute; `sent` hears how many bytes
        of `stdin` have gone so far. Its stdout, of `most` bytes, is in the result, or goes to `take` as it comes.

        Raises Unreachable when the connection breaks, CommandFailed when the host starts no command, when it has not
        ended in `timeout_s` (it may then still be running there), or when it prints more. A code other than 0 is a
        result, no error.
        """
        try:
            return await asyncio.wait_for(self._run(argv, stdin, cwd, sent, most, take), timeout_s)
        except asyncio.TimeoutError as error:
            cause = f"{argv[0]} did not end within {timeout_s:g} s"
            raise CommandFailed(self.host.name, cause, OVERLOADED) from error

    async def _run(
        self,
        argv: Sequence[str],
        stdin: bytes,
        cwd: str | None,
        sent: Callable[[int], object],
        most: int,
        take: Callable[[bytes], object] | None,
    ) -> Result:
        kept: list[bytes] = []
        async with self.stream(argv, cwd=cwd) as process:
            feed = asyncio.ensure_future(process.feed(stdin, sent))
            try:
                await process.read_to(take or kept.append, most)
                code = await process.wait()
            finally:
                feed.cancel()
                await asyncio.gather(feed, return_exceptions=True)
            return Result(code=code, stdout=b"".join(kept), stderr=process.stderr_tail)

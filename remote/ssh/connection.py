"""One SSH connection to a host: commands with their output, processes to follow, and word when it is lost.

`remote.hosts.pool` opens one per host and keeps it; everything that is done on a host goes through it. SSH is a viewer
and a command path here: nothing that must go on may hang from a channel.

    >>> connection = await Connection.open(host, Dialer())
    >>> (await connection.run(["uname", "-s"], timeout_s=5)).stdout
    b'Linux\\n'
    >>> async with connection.stream(["tail", "-f", "x"]) as process:
    ...     async for line in process.lines(): ...
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncssh

from motley.remote.config.cluster import Host
from motley.remote.errors import OVERLOADED, CommandFailed, Unreachable
from motley.remote.ssh.dial import Dialer, Raw
from motley.remote.ssh.dial_errors import Watch
from motley.remote.ssh.process import MAX_LINE, RemoteProcess
from motley.remote.ssh.shell import login_line

SESSIONS = 8  # at once on one connection: sshd refuses the 11th (MaxSessions)
RETRY_S = (0.02, 0.05, 0.1, 0.3, 0.9)  # between attempts to start a command
OPEN_S = 8.0  # for sshd to start a command


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a command ended. `code` is 128 + the signal's number when one ended it."""

    code: int
    stdout: bytes
    stderr: str  # made safe to show


class Connection:
    """An open connection; `Connection.open` makes it."""

    def __init__(self, host: Host, raw: Raw, watch: Watch) -> None:
        self.host = host
        self._raw = raw
        self._watch = watch
        self._sessions = asyncio.Semaphore(SESSIONS)

    @classmethod
    async def open(cls, host: Host, dialer: Dialer) -> Connection:
        """Raises a HostError with cause and remedy, at the latest after `dial.DEADLINE_S`."""
        return cls(host, *await dialer.dial(host))

    @property
    def is_open(self) -> bool:
        return not self._watch.ended.is_set() and not self._raw.is_closed()

    @property
    def server_address(self) -> str | None:
        """The host's numeric address as seen from here; None behind a jump host or a ProxyCommand."""
        peer = self._raw.get_extra_info("peername")
        return str(peer[0]) if peer and peer[0] else None

    async def lost(self) -> str:
        """Waits for the connection to end, by whatever side, and says why."""
        await self._watch.ended.wait()
        return self._watch.reason

    async def close(self) -> None:
        self._raw.close()
        await self._raw.wait_closed()

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

    @asynccontextmanager
    async def stream(self, argv: Sequence[str], *, cwd: str | None = None) -> AsyncIterator[RemoteProcess]:
        """A running command whose output is read as it comes. Leaving the block closes its channel."""
        async with self._sessions:
            process = RemoteProcess(self.host.name, await self._start(login_line(argv, cwd)), self._watch)
            try:
                yield process
            finally:
                await process.close()

    async def _start(self, line: str) -> asyncssh.SSHClientProcess[bytes]:
        name = self.host.name
        try:
            return await asyncio.wait_for(self._open_session(line), OPEN_S)
        except asyncio.TimeoutError as error:
            raise CommandFailed(name, f"sshd started no command within {OPEN_S:g} s", OVERLOADED) from error
        except asyncssh.ChannelOpenError as error:
            if not self.is_open:
                raise _lost(name, self._watch.reason) from error
            remedy = "Raise MaxSessions in /etc/ssh/sshd_config there; the default of 10 is enough."
            raise CommandFailed(name, f"sshd starts no further command: {error}", remedy) from error
        except (asyncssh.Error, OSError) as error:
            raise _lost(name, self._watch.reason or str(error)) from error

    async def _open_session(self, line: str) -> asyncssh.SSHClientProcess[bytes]:
        """A new session; sshd counts the last ones for a moment after they have ended, so it is asked again."""
        for pause_s in RETRY_S:
            try:
                return await self._raw.create_process(line, encoding=None, request_pty=False, env=None, send_env=None)
            except asyncssh.ChannelOpenError:
                if not self.is_open:
                    raise
            await asyncio.sleep(pause_s)
        return await self._raw.create_process(line, encoding=None, request_pty=False, env=None, send_env=None)


def _lost(host: str, reason: str) -> Unreachable:
    return Unreachable(host, f"the connection was lost: {reason}", "The run itself goes on; connect again.")


def backoff(jitter: Callable[[], float] = random.random) -> Iterator[float]:
    """Seconds to wait before each attempt to reconnect: from 0.2 to 5, spread so that 64 hosts don't come at once.

    `jitter` gives numbers from 0 to 1.

    >>> [round(next(delays), 2) for delays in [backoff(lambda: 1.0)] for _ in range(6)]
    [0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    """
    delay = 0.2
    while True:
        yield delay * (0.5 + 0.5 * jitter())
        delay = min(2 * delay, 5.0)

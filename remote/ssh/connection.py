"""One SSH connection to a host: commands with their output, processes to follow, and word when it is lost.

`remote.hosts.pool` opens one per host and keeps it; everything that is done on a host goes through it. SSH is a viewer
and a command path here: nothing that must go on may hang from a channel.

    >>> connection = await SSHConnection.open(host, Dialer())
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

import asyncssh

from motley.remote.config.cluster import Host
from motley.remote.errors import OVERLOADED, CommandFailed, Unreachable
from motley.remote.ssh.commands import Commands
from motley.remote.ssh.dial import Dialer, Raw
from motley.remote.ssh.dial_errors import Watch
from motley.remote.ssh.process import RemoteProcess
from motley.remote.ssh.shell import login_line

SESSIONS = 8  # at once on one connection: sshd refuses the 11th (MaxSessions)
RETRY_S = (0.02, 0.05, 0.1, 0.3, 0.9)  # between attempts to start a command
OPEN_S = 8.0  # for sshd to start a command


class SSHConnection(Commands):
    """An open connection; `SSHConnection.open` makes it."""

    def __init__(self, host: Host, raw: Raw, watch: Watch) -> None:
        super().__init__(host)
        self._raw = raw
        self._watch = watch
        self._sessions = asyncio.Semaphore(SESSIONS)

    @classmethod
    async def open(cls, host: Host, dialer: Dialer) -> SSHConnection:
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

    @property
    def own_address(self) -> str | None:
        """This machine's numeric address on the way to the host; None behind a jump host or a ProxyCommand."""
        own = self._raw.get_extra_info("sockname")
        return str(own[0]).partition("%")[0] if own and own[0] else None

    async def lost(self) -> str:
        """Waits for the connection to end, by whatever side, and says why."""
        await self._watch.ended.wait()
        return self._watch.reason

    async def close(self) -> None:
        self._raw.close()
        await self._raw.wait_closed()

    @asynccontextmanager
    async def stream(self, argv: Sequence[str], *, cwd: str | None = None) -> AsyncIterator[RemoteProcess]:
        """A running command whose output is read as it comes. Leaving the block closes its channel."""
        async with self.stream_line(login_line(argv, cwd)) as process:
            yield process

    @asynccontextmanager
    async def stream_line(self, line: str, kind: type[RemoteProcess] = RemoteProcess) -> AsyncIterator[RemoteProcess]:
        """The same of a whole line for the login shell, which says `shell.MARK` when its command begins."""
        async with self._sessions:
            process = kind(self.host.name, await self._start(line), self._watch)
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

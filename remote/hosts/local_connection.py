"""The machine that the console runs on, as a connection: commands over pipes, without any SSH.

Each runs in a session of its own, so that ctrl+c in the terminal ends none, in the user's home and with the
environment that sshd would give it. What puts itself into another session, as a supervisor does, lives on when the
console has gone.

    >>> connection = await LocalConnection.open(host)
    >>> (await connection.run(["uname", "-s"], timeout_s=5)).stdout
    b'Linux\\n'
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from motley.remote.config.cluster import Host
from motley.remote.errors import CommandFailed, Unreachable
from motley.remote.hosts.login_environment import home, own_environment
from motley.remote.ssh.commands import Commands
from motley.remote.ssh.demo_hosts import CHUNK, empty, end_command
from motley.remote.ssh.process import RemoteProcess
from motley.remote.ssh.shell import login_line


class _End:
    """The connection's: it ends when it is closed."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.reason = ""


class LocalConnection(Commands):
    """`LocalConnection.open` makes it. Nothing can be lost of it but by `close`."""

    def __init__(self, host: Host, folder: str, environment: dict[str, str]) -> None:
        super().__init__(host)
        self._folder = folder
        self._environment = environment
        self._end = _End()
        self._children: set[_Child] = set()

    @classmethod
    async def open(cls, host: Host, environment: dict[str, str] | None = None) -> LocalConnection:
        """`environment`: in place of what a login has. Raises CommandFailed where the user has no home folder."""
        return cls(host, _folder(host), own_environment() if environment is None else environment)

    @property
    def is_open(self) -> bool:
        return not self._end.ended.is_set()

    @property
    def own_address(self) -> None:
        """There is no way between the two."""
        return

    async def lost(self) -> str:
        await self._end.ended.wait()
        return self._end.reason

    async def close(self) -> None:
        self._end.reason = "the connection was closed"
        self._end.ended.set()
        await asyncio.gather(*(child.ended() for child in list(self._children)))

    @asynccontextmanager
    async def stream(self, argv: Sequence[str], *, cwd: str | None = None) -> AsyncIterator[RemoteProcess]:
        """A running command whose output is read as it comes. Leaving the block ends it."""
        async with self.stream_line(login_line(argv, cwd)) as process:
            yield process

    @asynccontextmanager
    async def stream_line(self, line: str, kind: type[RemoteProcess] = RemoteProcess) -> AsyncIterator[RemoteProcess]:
        """The same of a whole line for the shell, which says `shell.MARK` when its command begins."""
        if not self.is_open:
            raise Unreachable(self.host.name, f"the connection was lost: {self._end.reason}", "Connect again.")
        child = await self._start(line)
        self._children.add(child)
        process = kind(self.host.name, child, self._end)
        try:
            yield process
        finally:
            await process.close()
            await child.ended()
            await asyncio.gather(empty(child.stdout), empty(child.stderr))
            self._children.discard(child)

    async def _start(self, line: str) -> _Child:
        try:
            return _Child(
                await asyncio.create_subprocess_exec(
                    "/bin/sh", "-c", line,
                    stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                    limit=CHUNK, cwd=self._folder, env=self._environment, start_new_session=True,
                )
            )  # fmt: skip
        except OSError as error:
            cause = f"no command could be started: {error.strerror or error}"
            raise CommandFailed(self.host.name, cause, "See what this machine lacks: processes, memory?") from error


class _Child:
    """A child process in the form that `RemoteProcess` reads: see `remote.ssh.process.Running`."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        self.stdin, self.stdout, self.stderr = child.stdin, child.stdout, child.stderr
        self.channel = self
        self._child = child
        self._ending: asyncio.Task[None] | None = None

    @property
    def exit_status(self) -> int | None:
        code = self._child.returncode
        return code if code is not None and code >= 0 else None

    @property
    def exit_signal(self) -> tuple[str] | None:
        code = self._child.returncode
        return (signal.Signals(-code).name.removeprefix("SIG"),) if code is not None and code < 0 else None

    async def wait_closed(self) -> None:
        await self._child.wait()

    def close(self) -> None:
        """It sees the end of its stdin; `abort` does the rest."""
        self.stdin.close()

    def abort(self) -> None:
        if self._ending is None:
            self._ending = asyncio.ensure_future(end_command(self._child))

    async def ended(self) -> None:
        """Ends it, where it has not ended."""
        self.abort()
        if self._ending is not None:
            await self._ending


def _folder(host: Host) -> str:
    if not os.path.isdir(home()):
        raise CommandFailed(host.name, f"the home folder {home()} is not there", "Set HOME to one that is.")
    return home()

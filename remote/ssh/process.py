"""A command running on a host, as `Connection.stream` and `Connection.run` give it, whatever the way to the host.

What a login shell printed before the command began is dropped. stderr is read all the time, so the command never
waits for it, and its last part is kept for the message when it fails.

    >>> async with connection.stream(["sh", "-c", "echo one; echo two"]) as process:
    ...     print([line async for line in process.lines()], await process.wait())
    [b'one', b'two'] 0
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import asyncssh

from motley.remote.errors import CommandFailed, NoShell, Unreachable, WrongSystem
from motley.remote.sanitize import clean_lines
from motley.remote.ssh.shell import MARK

CHUNK = 64 * 1024
MAX_LINE = 16 * 1024 * 1024  # a record is never longer; what is, is no record
TAIL = 8 * 1024  # of stderr
GREETING = 64 * 1024  # the most that start-up files may print
CLOSE_S = 0.5  # for the host to confirm; sshd holds that back while the command runs on
_MARK = MARK.encode() + b"\n"
WINDOWS = ("is not recognized as an internal or external command", "is not recognized as the name of a cmdlet")
_RECONNECT = "The run itself goes on; connect again."


class Reads(Protocol):
    async def read(self, n: int = -1, /) -> bytes: ...


class Writes(Protocol):
    def write(self, data: bytes, /) -> None: ...
    async def drain(self) -> None: ...
    def write_eof(self) -> None: ...
    def is_closing(self) -> bool: ...


class Aborts(Protocol):
    def abort(self) -> None: ...


class Running(Protocol):
    """A command with its streams, as asyncssh has it: `asyncssh.SSHClientProcess` is one."""

    @property
    def stdin(self) -> Writes: ...
    @property
    def stdout(self) -> Reads: ...
    @property
    def stderr(self) -> Reads: ...
    @property
    def channel(self) -> Aborts: ...
    @property
    def exit_status(self) -> int | None: ...
    @property
    def exit_signal(self) -> tuple[Any, ...] | None: ...
    def close(self) -> None: ...
    async def wait_closed(self) -> None: ...


class Ends(Protocol):
    """The end of a connection, and why."""

    ended: asyncio.Event
    reason: str


class RemoteProcess:
    def __init__(self, host: str, process: Running, watch: Ends) -> None:
        self._host = host
        self._process = process
        self._watch = watch
        self._began = False
        self._stderr = bytearray()
        self._stderr_reader = asyncio.ensure_future(self._keep_stderr())

    @property
    def stderr_tail(self) -> str:
        """The end of what it wrote to stderr so far, safe to show."""
        return clean_lines(self._stderr.decode(errors="replace")).strip()

    async def lines(self) -> AsyncIterator[bytes]:
        """Each line of its stdout, without the newline, until it closes it.

        Raises Unreachable when the connection breaks, CommandFailed when the command never began.
        """
        rest = bytearray()
        async for chunk in self._chunks():
            rest += chunk
            if b"\n" in chunk:
                *whole, last = bytes(rest).split(b"\n")
                rest = bytearray(last)
                for line in whole:
                    yield line
            if len(rest) > MAX_LINE:
                raise CommandFailed(self._host, f"it sent a line of more than {MAX_LINE} bytes", "Report this.")
        if rest:
            yield bytes(rest)

    async def read_all(self, most: int = MAX_LINE) -> bytes:
        """All of its stdout. Raises CommandFailed when that is more than so many bytes, and what `read_to` does."""
        found: list[bytes] = []
        await self.read_to(found.append, most)
        return b"".join(found)

    async def read_to(self, take: Callable[[bytes], object], most: int) -> None:
        """Hands all of its stdout over, as it comes. Raises CommandFailed when that is more than `most` bytes."""
        count = 0
        async for chunk in self._chunks():
            count += len(chunk)
            if count > most:
                raise CommandFailed(self._host, f"it sent more than {most:,} bytes", "Report this.")
            take(chunk)

    async def write(self, data: bytes, sent: Callable[[int], object] = lambda _: None) -> None:
        """To its stdin; `sent` hears how many bytes have gone so far.

        Raises Unreachable when the connection is gone; a process that is gone takes nothing.
        """
        for start in range(0, len(data), CHUNK):
            try:
                self._process.stdin.write(data[start : start + CHUNK])
                await self._process.stdin.drain()
                sent(min(start + CHUNK, len(data)))
            except (asyncssh.Error, OSError) as error:
                if self._watch.ended.is_set():
                    raise self._lost() from error
                return

    def close_stdin(self) -> None:
        if not self._process.stdin.is_closing():
            self._process.stdin.write_eof()

    async def feed(self, data: bytes, sent: Callable[[int], object] = lambda _: None) -> None:
        """Writes all of `data` and closes stdin."""
        await self.write(data, sent)
        self.close_stdin()

    async def wait(self) -> int:
        """Its exit code, or 128 + the number of the signal that ended it. Raises Unreachable without one."""
        await self._process.wait_closed()
        await asyncio.gather(self._stderr_reader, return_exceptions=True)
        if self._process.exit_signal is not None:
            name = f"SIG{self._process.exit_signal[0]}"
            return 128 + (signal.Signals[name] if name in signal.Signals.__members__ else 0)
        if self._process.exit_status is None:
            raise self._lost()
        return self._process.exit_status

    async def close(self) -> None:
        """Closes the channel: the command sees the end of its stdin and, when it writes, a closed pipe."""
        self._process.close()
        try:
            await asyncio.wait_for(self._process.wait_closed(), CLOSE_S)
        except asyncio.TimeoutError:
            self._process.channel.abort()
        self._stderr_reader.cancel()
        await asyncio.gather(self._stderr_reader, return_exceptions=True)

    async def _chunks(self) -> AsyncIterator[bytes]:
        head = b""
        while True:
            try:
                chunk = await self._process.stdout.read(CHUNK)
            except (asyncssh.Error, OSError) as error:
                raise self._lost() from error
            if self._began and chunk:
                yield chunk
                continue
            head += chunk
            if not chunk:
                if not self._began:
                    raise await self._never_began(head)
                if self._watch.ended.is_set() and self._process.exit_status is None:
                    raise self._lost()
                return
            before, mark, after = head.partition(_MARK)
            if mark:
                self._began = True
                head = b""
                if after:
                    yield after
            elif len(before) > GREETING:
                raise await self._never_began(head)

    async def _never_began(self, head: bytes) -> CommandFailed | Unreachable:
        if self._watch.ended.is_set():
            return self._lost()
        await asyncio.wait([self._stderr_reader], timeout=CLOSE_S)  # what it has to say may come there
        said = clean_lines((head[-TAIL:].decode(errors="replace") + "\n" + self.stderr_tail).strip()) or "nothing"
        if any(words in said for words in WINDOWS):
            remedy = "Motley trains on Linux: install WSL2 there (wsl --install in PowerShell), and an sshd in it."
            return WrongSystem(self._host, f"it runs Windows: {said.splitlines()[0]}", remedy)
        cause = f"the login shell there started no command; it said: {said}"
        return NoShell(self._host, cause, "Give the user a login shell there: sudo chsh -s /bin/bash USER")

    def _lost(self) -> Unreachable:
        return Unreachable(self._host, f"the connection was lost: {self._watch.reason or 'closed'}", _RECONNECT)

    async def _keep_stderr(self) -> None:
        try:
            while chunk := await self._process.stderr.read(CHUNK):
                self._stderr += chunk
                del self._stderr[:-TAIL]
        except (asyncssh.Error, OSError):
            return  # the reader of stdout meets the same and says so

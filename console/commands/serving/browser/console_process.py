"""One console in a browser: a process `motley attach RUN --readonly` of its own, as textual-serve speaks with it.

    process = ConsoleProcess(words, socket, told=print)
    await process.start(120, 40)
    ...                              # what the page sends: await process.send_bytes(b"d")
    await process.stop()             # no process of it is left, the run goes on

Whether the run may be changed is decided by the process's command line: nothing that a page sends alters that. It has a
process group of its own, so that Ctrl-C in the server's terminal ends it in one way only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from textual_serve.app_service import AppService
from textual_serve.download_manager import DownloadManager

LEAVE_S = 8.0  # to close its connections to the hosts, which the console itself bounds to less
TERM_S = 2.0
SAID_BYTES = 4000


class ConsoleProcess(AppService):
    """`socket`: an aiohttp WebSocketResponse. `told` hears what the process said at its end, on stderr, and its
    exit code; `over` is set then."""

    def __init__(self, words: Sequence[str], socket: Any, told: Callable[[str, int], None]) -> None:
        super().__init__(
            words[0],
            write_bytes=self._send(socket, socket.send_bytes),
            write_str=self._send(socket, socket.send_str),
            close=socket.close,
            download_manager=DownloadManager(),
        )
        self._words, self._told = words, told
        self.over = asyncio.Event()
        self._own: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    @staticmethod
    def _send(socket: Any, send: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Where the page has gone, what is drawn goes nowhere: the process must not wait for a reader."""

        async def sent(data: Any) -> None:
            if not socket.closed:
                with contextlib.suppress(ConnectionError):
                    await send(data)

        return sent

    async def _open_app_process(self, width: int = 80, height: int = 24) -> Any:
        """In place of a shell; what it says on stderr is not for textual-serve, which would print it on stdout."""
        pipe = asyncio.subprocess.PIPE
        self._own = process = await asyncio.create_subprocess_exec(
            *self._words,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=self._build_environment(width=width, height=height),
            start_new_session=True,
        )
        silent = asyncio.StreamReader()
        silent.feed_eof()
        self._stdin = process.stdin
        self._process = SimpleNamespace(stdout=process.stdout, stderr=silent)
        self._listening = asyncio.create_task(self._listen(process))
        return process

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        said = b""
        while piece := await process.stderr.read(SAID_BYTES):
            said = (said + piece)[-SAID_BYTES:]
        self._told(said.decode("utf-8", "replace").strip(), await process.wait())
        self.over.set()

    async def stop(self) -> None:
        """Returns when no process of it is left, whoever else has asked for that before."""
        if self._own is not None:
            self._ending = self._ending or asyncio.create_task(self._end(self._own))
            await asyncio.shield(self._ending)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """The end of its input is as good as a closed terminal; whoever does not take the hint is ended."""
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        for wait_s, number in ((LEAVE_S, signal.SIGTERM), (TERM_S, signal.SIGKILL), (None, None)):
            try:
                await asyncio.wait_for(asyncio.shield(process.wait()), wait_s)
                break
            except asyncio.TimeoutError:
                assert number is not None
                _signal(process.pid, number)
        _signal(process.pid, signal.SIGKILL)  # whoever it has left behind
        for task in (self._task, self._listening):
            if task is not None:
                await asyncio.wait([task])  # at the end of its pipe
        while await process.stdout.read(1 << 16):  # what nobody has read keeps the pipe open
            pass


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)

"""HTTP/1.1 over TLS, as much of it as kubectl speaks: answers, streams that end when the client goes, and upgrades.

server = await serve(handler, certificate)
server.port
"""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

JSON = "application/json"
HEAD_BYTES = 2**16
AGAIN_S = 1.0  # until what was cancelled and still runs is cancelled again


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]  # names in lower case
    body: bytes

    def asked(self, name: str, default: str = "") -> str:
        """The first value of a word of the query."""
        return self.query.get(name, [default])[0]

    def is_true(self, name: str) -> bool:
        return self.asked(name) in ("true", "1")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    content_type: str = JSON

    @classmethod
    def of(cls, table: Any, status: int = 200) -> Answer:
        return cls(status, json.dumps(table).encode() + b"\n")


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that goes on until `parts` ends, or the client goes."""

    parts: AsyncIterator[bytes]
    content_type: str = JSON


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The connection belongs to `talk` from then on."""

    headers: dict[str, str]
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] = field(compare=False)


Handler = Callable[[Request], Awaitable["Answer | Stream | Upgrade"]]


class Server:
    """Listens on a port of 127.0.0.1, which stays the same when it stops and begins again."""

    def __init__(self, handler: Handler, context: ssl.SSLContext) -> None:
        self._handler, self._context = handler, context
        self._connections: set[asyncio.Task[None]] = set()
        self._streams: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", self.port, ssl=self._context, limit=HEAD_BYTES
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await _ended(self._connections)

    async def cut_streams(self) -> None:
        await _ended(self._streams)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while (request := await _request(reader)) is not None:
                if not await self._answer(request, task, reader, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass  # the client's end of it, or ours; the loop of the server goes on
        finally:
            self._connections.discard(task)
            self._streams.discard(task)
            writer.transport.abort()

    async def _answer(
        self, request: Request, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Whether the connection can be used again."""
        answer = await self._handler(request)
        if isinstance(answer, Answer):
            head = {"Content-Type": answer.content_type, "Content-Length": str(len(answer.body))}
            writer.write(_head(answer.status, head) + answer.body)
            await writer.drain()
            return True
        self._streams.add(task)
        if isinstance(answer, Upgrade):
            writer.write(_head(101, answer.headers))
            await answer.talk(reader, writer)
        else:
            writer.write(_head(200, {"Content-Type": answer.content_type, "Transfer-Encoding": "chunked"}))
            await _send(answer.parts, reader, writer)
        return False


async def _request(reader: asyncio.StreamReader) -> Request | None:
    """The next one of a connection; None at its end."""
    head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
    if not head:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urllib.parse.urlsplit(target)
    query = urllib.parse.parse_qs(parts.query, keep_blank_values=True)
    path = urllib.parse.unquote(parts.path)
    return Request(method=method, path=path, query=query, headers=headers, body=body)


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _send(parts: AsyncIterator[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await writer.drain()
    gone = asyncio.ensure_future(reader.read(1))  # nothing more comes from a client that reads a stream, but its end
    waiting: set[Any] = {gone}
    try:
        while True:
            part = asyncio.ensure_future(anext(parts, None))
            waiting = {part, gone}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not part.done():
                return
            content = part.result()
            writer.write(b"%x\r\n%s\r\n" % (len(content), content) if content is not None else b"0\r\n\r\n")
            await writer.drain()
            if content is None:
                return
    finally:
        await _ended(waiting)


async def _ended(tasks: set[Any]) -> None:
    """Cancels them and waits until they are done. Again those that still run: asyncio's start of a process, when it is
    cancelled, waits for all that hold the process's pipes, which may be for ever."""
    running = {task for task in tasks if task is not asyncio.current_task()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=AGAIN_S)

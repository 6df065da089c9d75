"""The server's end of a WebSocket (RFC 6455) for `kubectl exec`: binary messages whose first byte is a channel.

| channel | carries |
|---|---|
| 0 | standard input, from kubectl |
| 1, 2 | standard output and error |
| 3 | a Status in JSON: how it has ended |
| 4 | the size of a terminal, from kubectl |
| 255 | with v5: the channel that the next byte names is at its end |
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
from collections.abc import AsyncIterator

from tests.kubernetes.api.http_server import Request

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
STDIN, STDOUT, STDERR, ERROR, CLOSED = 0, 1, 2, 3, 255
BINARY, CLOSE, PING, PONG = 2, 8, 9, 10
WHOLE = 0x80


def protocol_of(request: Request) -> str | None:
    """The newest that both know; None when it is no request for a WebSocket of ours."""
    if request.headers.get("upgrade", "").lower() != "websocket":
        return None
    asked = [part.strip() for part in request.headers.get("sec-websocket-protocol", "").split(",")]
    return next((name for name in PROTOCOLS if name in asked), None)


def answer_headers(request: Request, protocol: str) -> dict[str, str]:
    digest = hashlib.sha1((request.headers["sec-websocket-key"] + MAGIC).encode()).digest()
    return {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": base64.b64encode(digest).decode(),
        "Sec-WebSocket-Protocol": protocol,
    }


class WebSocket:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def messages(self) -> AsyncIterator[bytes]:
        """Those that come, whole, until the other side is done."""
        whole = b""
        while True:
            first, second = await self._reader.readexactly(2)
            size = second & 0x7F
            if size >= 126:
                form = "!H" if size == 126 else "!Q"
                (size,) = struct.unpack(form, await self._reader.readexactly(struct.calcsize(form)))
            mask = await self._reader.readexactly(4) if second & 0x80 else bytes(4)
            content = _masked(await self._reader.readexactly(size), mask)
            kind = first & 0x0F
            if kind == CLOSE:
                return
            if kind == PING:
                await self._frame(PONG, content)
            elif kind != PONG:
                whole += content
                if first & WHOLE:
                    yield whole
                    whole = b""

    async def send(self, channel: int, content: bytes) -> None:
        await self._frame(BINARY, bytes([channel]) + content)

    async def close(self) -> None:
        await self._frame(CLOSE, struct.pack("!H", 1000))

    async def _frame(self, kind: int, content: bytes) -> None:
        size = len(content)
        if size < 126:
            head = struct.pack("!BB", WHOLE | kind, size)
        elif size < 2**16:
            head = struct.pack("!BBH", WHOLE | kind, 126, size)
        else:
            head = struct.pack("!BBQ", WHOLE | kind, 127, size)
        self._writer.write(head + content)
        await self._writer.drain()


def _masked(content: bytes, mask: bytes) -> bytes:
    if not content or mask == bytes(4):
        return content
    size = len(content)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(content, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")

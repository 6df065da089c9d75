"""A DNS server for pods: IPv4 addresses over UDP, in as much as a C library asks for them (RFC 1035).

server = await serve(listener, lambda name: ["10.244.0.2"] if name == "night." else [])
...
server.close()
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any

HEADER = struct.Struct("!6H")  # id, flags, and how many questions, answers, authorities, additions
RECORD = struct.Struct("!HHHIH4s")  # where the name is, type, class, seconds to live, length, address
A, INTERNET = 1, 1
ANSWER, NO_SUCH_NAME = 0x8580, 3  # an authoritative answer, recursion asked for and available
NAME_OF_QUESTION = 0xC000 | HEADER.size
TTL_S = 5
Look = Callable[[str], Sequence[str]]


async def serve(listener: socket.socket, look: Look) -> asyncio.DatagramTransport:
    """`look` gives the addresses of a name, none when there is no such name. The transport closes the listener."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Server(look), sock=listener)
    return transport


class _Server(asyncio.DatagramProtocol):
    def __init__(self, look: Look) -> None:
        self._look = look

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if (reply := answer(data, self._look)) is not None:
            self._transport.sendto(reply, addr)


def answer(query: bytes, look: Look) -> bytes | None:
    """None to what is no query of one name."""
    try:
        number, flags, questions, *_ = HEADER.unpack_from(query)
        name, end = _name(query, HEADER.size)
        kind, family = struct.unpack_from("!HH", query, end)
    except (struct.error, IndexError, UnicodeDecodeError):
        return None
    if flags & 0x8000 or questions != 1:
        return None
    found = look(name)
    shown = found if (kind, family) == (A, INTERNET) else ()
    code = ANSWER if found else ANSWER | NO_SUCH_NAME
    records = [
        RECORD.pack(NAME_OF_QUESTION, A, INTERNET, TTL_S, 4, ipaddress.IPv4Address(address).packed) for address in shown
    ]
    return HEADER.pack(number, code, 1, len(records), 0, 0) + query[HEADER.size : end + 4] + b"".join(records)


def _name(message: bytes, place: int) -> tuple[str, int]:
    """With a dot at its end, and where it ends."""
    labels = []
    while length := message[place]:
        label = message[place + 1 : place + 1 + length]
        labels.append(label.decode("ascii"))
        place += 1 + length
    return ".".join([*labels, ""]), place + 1

"""How fast the network between a host and the leader is: bytes a second and latency of one TCP connection.

`python -m motley.trainer link`: the leader listens, the other hosts connect one after the other. Both read the token,
one line, from standard input; nobody without it is served. Bounded in bytes and time. Standard library only.

    leader: link --listen 192.168.0.7                    prints {"port": 40123}, serves until stdin closes
    other:  link --connect 192.168.0.7 --port 40123      prints {"mbit": 938.2, "latency_ms": 0.21}

Throughput is counted at the receiving end, without a first part that buffers on the way may have taken at once, in
both directions; the slower one counts. Latency is half the median round trip of one byte.
"""

from __future__ import annotations

import hmac
import json
import select
import socket
import struct
import sys
import time
from collections.abc import Iterable
from typing import BinaryIO, TextIO

from motley.trainer.contract.handshake import nonce, proof

LIFE_S = 300.0  # of a listener that hears of nobody: its master may have gone without a word
HELLO_S = 3.0  # to show the token; meanwhile nobody else is served
WHOLE_S = 40.0  # for one measurement
PINGS = 15
BYTES = 48 * 2**20
SECONDS = 1.5
SETTLE_BYTES = 512 * 1024  # buffers on the way take so much at once
SETTLE_PART = 0.25  # of what came in all, where that is less
UNSENT_BYTES = 256 * 1024  # wait here, not in the kernel, so that a slow link ends in time too
CHUNK = 64 * 1024
_NONCE = 32
_PROOF = 64
_FIGURES = struct.Struct("!dQ")  # seconds, bytes


class LinkError(OSError):
    """The other side is not ours, or went: says which."""


def listen(address: str, stdin: BinaryIO, stdout: TextIO) -> int:
    """Serve measurements on `address` (numeric) until standard input closes. One at a time."""
    token = _token(stdin)
    if not token:
        return 1
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as listener:
        try:
            listener.bind((address, 0))
        except OSError as error:
            print(f"can't listen on {address}: {error}", file=sys.stderr, flush=True)
            return 1
        listener.listen(16)
        print(json.dumps({"port": listener.getsockname()[1]}), file=stdout, flush=True)
        while True:
            ready, _, _ = select.select([listener.fileno(), stdin.fileno()], [], [], LIFE_S)
            if stdin.fileno() in ready or not ready:  # its end, the only thing that can come; or nobody did
                return 0
            connection, peer = listener.accept()
            with connection:
                try:
                    serve(LineBuffer(connection), token)
                except OSError as error:
                    print(f"a measurement with {peer[0]} was given up: {error}", file=sys.stderr, flush=True)


def connect(address: str, port: int, stdin: BinaryIO, stdout: TextIO) -> int:
    """Measure the way to a listener, print the figures. 1 when there are none, with the reason on stderr."""
    token = _token(stdin)
    if not token:
        return 1
    try:
        with socket.create_connection((address, port), timeout=HELLO_S) as connection:
            figures = measure(LineBuffer(connection), token)
    except OSError as error:
        print(f"{address} port {port} could not be measured: {error}", file=sys.stderr, flush=True)
        return 1
    print(json.dumps(figures), file=stdout, flush=True)
    return 0


class LineBuffer:
    """A connection on which everything together may take `within_s`."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        self.within(HELLO_S)

    def within(self, seconds: float) -> None:
        """What comes from here on may take so long."""
        self._ends = time.monotonic() + seconds

    def send(self, data: bytes) -> None:
        """All of it. Raises OSError when the other side goes or the time is over."""
        self._bound()
        self._socket.sendall(data)

    def receive_into(self, buffer: memoryview) -> int:
        """How many bytes came, at least one."""
        self._bound()
        count = self._socket.recv_into(buffer)
        if count == 0:
            raise LinkError("the other side went")
        return count

    def receive(self, count: int) -> bytes:
        """Exactly so many bytes."""
        buffer, filled = memoryview(bytearray(count)), 0
        while filled < count:
            filled += self.receive_into(buffer[filled:])
        return bytes(buffer)

    def _bound(self) -> None:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise LinkError("it took too long")
        self._socket.settimeout(left)


def serve(line: LineBuffer, token: str) -> None:
    """The listener's side of one measurement. Raises LinkError when the other does not have the token."""
    ours = nonce()
    line.send(ours.encode())
    theirs = line.receive(_NONCE + _PROOF).decode(errors="replace")
    if not hmac.compare_digest(proof(token, "link", ours).encode(), theirs[_NONCE:].encode()):
        raise LinkError("a stranger connected")
    line.send(proof(token, "leader", theirs[:_NONCE]).encode())
    line.within(WHOLE_S)
    for _ in range(PINGS):
        line.send(line.receive(1))
    line.send(_FIGURES.pack(*_take(line)))
    _fill(line)


def measure(line: LineBuffer, token: str) -> dict[str, float]:
    """The connecting side: `{"mbit", "latency_ms"}`. Raises LinkError when the listener does not have the token."""
    line.within(WHOLE_S)  # it may serve others first
    ours = nonce()
    theirs = line.receive(_NONCE).decode(errors="replace")
    line.send(f"{ours}{proof(token, 'link', theirs)}".encode())
    answer = line.receive(_PROOF)
    if not hmac.compare_digest(answer, proof(token, "leader", ours).encode()):
        raise LinkError("the listener is not the leader's")
    trips = []
    for _ in range(PINGS):
        began = time.perf_counter()
        line.send(b".")
        line.receive(1)
        trips.append(time.perf_counter() - began)
    _fill(line)
    there = _FIGURES.unpack(line.receive(_FIGURES.size))
    back = _take(line)
    return {
        "mbit": min(count * 8 / 1e6 / seconds for seconds, count in (there, back)),
        "latency_ms": sorted(trips)[PINGS // 2] * 500,
    }


def settled(came: Iterable[tuple[float, int]]) -> tuple[float, int]:
    """Seconds and bytes of the steady part of what came, given as (time, bytes so far).

    >>> settled([(0.0, 0), (0.0, 524288), (1.0, 1048576), (2.0, 1572864)])   # the first 512 KiB came out of buffers
    (2.0, 1048576)
    """
    marks = list(came)
    end, total = marks[-1]
    skipped = min(SETTLE_BYTES, total * SETTLE_PART)
    begin, before = next(mark for mark in marks if mark[1] >= skipped)
    return max(end - begin, 1e-6), total - before


def _fill(line: LineBuffer) -> None:
    """Chunks that begin with 1, for the time or the bytes given; the last one begins with 0."""
    chunk, last = b"\1" + bytes(CHUNK - 1), bytes(CHUNK)
    ends, left = time.perf_counter() + SECONDS, BYTES // CHUNK
    while left > 0 and time.perf_counter() < ends:
        line.send(chunk)
        left -= 1
    line.send(last)


def _take(line: LineBuffer) -> tuple[float, int]:
    """What `_fill` sends: how long it took and how much it was, without the beginning."""
    buffer, filled = memoryview(bytearray(CHUNK)), 0
    total = 0
    came = [(time.perf_counter(), 0)]
    while True:
        read = line.receive_into(buffer[filled:])
        filled += read
        total += read
        came.append((time.perf_counter(), total))
        if filled == CHUNK:
            if buffer[0] == 0:
                return settled(came)
            filled = 0


def _token(stdin: BinaryIO) -> str:
    """The first line; empty, with the reason on stderr, when it is no token."""
    token = stdin.readline().decode(errors="replace").strip()
    try:
        good = bool(bytes.fromhex(token))
    except ValueError:
        good = False
    if not good:
        print("no token on standard input", file=sys.stderr, flush=True)
    return token if good else ""

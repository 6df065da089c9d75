"""Whether this host reaches the others on ports that the system picks, as training will. Runs there: see
`trainer.bootstrap`.

`remote.preflight.reachability` has every host do it at once: it listens on its address in the cluster, says on which
port, is told the others' ports, connects to each, and says which it could not reach. It serves as long as this process
lives: the others may still be on their way here.

    in  {"meet": {"name": "box1", "token": "f00…", "address": "10.0.0.1"}}      out  {"port": 40123}
    in  {"peers": {"box2": ["10.0.0.2", 40456]}, "within_s": 1.5}               out  {"missed": {"box2": "ETIMEDOUT"}}
"""

from __future__ import annotations

import errno
import functools
import socket
import threading
from collections.abc import Generator
from typing import Any

from motley.trainer.bootstrap.event_loop import PAUSE, READ, WRITE, EventLoop
from motley.trainer.bootstrap.files import answer

HELLO_S = 2.0  # who says nothing for so long is hung up on
LINE = 256
NO_MORE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)  # no further connection is granted


def meet(hello: dict[str, str]) -> None:
    """Listen. `hello`: this host's name and address, and the token of the meeting."""
    listener = open_at(hello["address"])
    try:
        listener.bind((hello["address"], 0))
        listener.listen(128)
        threading.Thread(target=serve, args=(listener, hello["token"], hello["name"]), daemon=True).start()
    except (OSError, RuntimeError) as error:
        answer({"unable": str(error)})
        return
    answer({"port": listener.getsockname()[1]})


def open_at(address: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)


def serve(listener: socket.socket, token: str, name: str) -> None:
    """Tells everybody who shows the token who is here."""
    turns = EventLoop()
    turns.take(listener, letting_in(listener, turns, token, name), within_s=float("inf"))
    while turns.going:
        turns.wait()


def letting_in(listener: socket.socket, turns: EventLoop, token: str, name: str) -> Generator[int, None, None]:
    while True:
        yield READ
        try:
            guest = listener.accept()[0]
        except OSError as error:
            if error.errno in NO_MORE:  # until others have left
                yield PAUSE
            continue  # or it has gone again
        turns.take(guest, greeted(guest, token, name), within_s=HELLO_S)


def greeted(guest: socket.socket, token: str, name: str) -> Generator[int, None, None]:
    names = {token.encode(): name.encode()}  # found by a hash with a secret of its own: how long it takes tells nothing
    shown = yield from line_of(guest)
    if shown.strip() in names:
        guest.send(names[shown.strip()] + b"\n")


def missed(peers: dict[str, Any], address: str, token: str, within_s: float) -> dict[str, str]:
    """Those that can't be reached, and why: the name of an errno, or "stranger" when somebody else answers."""
    turns, found = EventLoop(), dict.fromkeys(peers, "")
    for name, place in peers.items():
        connection = open_at(address)
        steps = visited(connection, name, tuple(place), address, token)
        turns.take(connection, steps, within_s=within_s, over=functools.partial(found.__setitem__, name))
    while turns.going:
        turns.wait()
    return {name: why for name, why in found.items() if why}


def visited(
    connection: socket.socket, name: str, place: tuple[str, int], address: str, token: str
) -> Generator[int, None, str]:
    connection.bind((address, 0))
    code = connection.connect_ex(place)
    if code == errno.EINPROGRESS:
        yield WRITE
        code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, "not connected")
    connection.send(token.encode() + b"\n")
    said = yield from line_of(connection)
    return "" if said.decode(errors="replace").strip() == name else "stranger"


def line_of(connection: socket.socket) -> Generator[int, None, bytes]:
    """Up to its newline, or as much as is said before the end."""
    said = b""
    while b"\n" not in said and len(said) < LINE:
        yield READ
        more = connection.recv(LINE)
        if not more:
            break
        said += more
    return said

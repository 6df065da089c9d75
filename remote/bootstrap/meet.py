"""Whether this host reaches the others on ports that the system picks, as training will. Runs there: see
`remote.bootstrap`.

`remote.meeting` has every host do it at once: it listens on its address in the cluster, says on which port, is told
the others' ports, connects to each, and says which it could not reach. It serves as long as this process lives: the
others may still be on their way here.

    in  {"meet": {"name": "box1", "token": "f00…", "address": "10.0.0.1"}}      out  {"port": 40123}
    in  {"peers": {"box2": ["10.0.0.2", 40456]}, "within_s": 1.5}               out  {"missed": {"box2": "ETIMEDOUT"}}
"""

from __future__ import annotations

import errno
import hmac
import socket
import threading
from typing import Any

from remote.bootstrap.files import answer

HELLO_S = 2.0
LINE = 256


def meet(hello: dict[str, str]) -> None:
    """Listen. `hello`: this host's name and address, and the token of the meeting."""
    address = hello["address"]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.bind((address, 0))
        listener.listen(128)
        threading.Thread(target=serve, args=(listener, hello["token"], hello["name"]), daemon=True).start()
    except (OSError, RuntimeError) as error:
        answer({"unable": str(error)})
        return
    answer({"port": listener.getsockname()[1]})


def serve(listener: socket.socket, token: str, name: str) -> None:
    """Tells everybody who shows the token who is here."""
    while True:
        connection = listener.accept()[0]
        threading.Thread(target=greet, args=(connection, token, name), daemon=True).start()


def greet(connection: socket.socket, token: str, name: str) -> None:
    with connection:
        connection.settimeout(HELLO_S)
        try:
            shown = connection.makefile("rb").readline(LINE).strip()
            if hmac.compare_digest(shown, token.encode()):
                connection.sendall(name.encode() + b"\n")
        except OSError:  # the visitor finds out by itself
            return


def missed(peers: dict[str, Any], address: str, token: str, within_s: float) -> dict[str, str]:
    """Those that can't be reached, and why: the name of an errno, or "stranger" when somebody else answers."""
    found: dict[str, str] = {}

    def visit(name: str, place: tuple[str, int]) -> None:
        reason = visited(name, place, address, token, within_s)
        if reason:
            found[name] = reason

    threads = [threading.Thread(target=visit, args=(name, tuple(place))) for name, place in peers.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def visited(name: str, place: tuple[str, int], address: str, token: str, within_s: float) -> str:
    try:
        with socket.create_connection(place, timeout=within_s, source_address=(address, 0)) as connection:
            connection.sendall(token.encode() + b"\n")
            said = connection.makefile("rb").readline(LINE).decode(errors="replace").strip()
            return "" if said == name else "stranger"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "ETIMEDOUT" if "timed out" in str(error) else str(error))

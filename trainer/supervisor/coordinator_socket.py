"""The coordinator's socket, bound before anything runs, so that a port in use is known in time.

>>> with listen("127.0.0.1", 29500) as listener: ...
"""

from __future__ import annotations

import socket


def listen(address: str, port: int) -> socket.socket:
    """Raises OSError that says what to do when the port is taken."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        raise OSError(
            f"can't listen on {address}:{port} ({error.strerror}): is another run at work there? "
            f"`motley status` shows it; `--set cluster.port={port + 1}` takes another port"
        ) from error
    listener.listen(1024)
    return listener

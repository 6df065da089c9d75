"""`motley serve [RUN]`: finds the run, serves the page until Ctrl-C, and says where it is.

    code = serve_page(config, run, port=9465, control=False)

stdout has the address, which is a secret until it is used; stderr how to reach it from another machine.
"""

from __future__ import annotations

import asyncio
import getpass
import importlib.util
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from motley.console.control.terminal_prompts import asker
from motley.remote.config.cluster import Cluster
from motley.remote.config.load import load
from motley.remote.errors import UsageError
from motley.remote.quoting import pasteable

PORT = 9465


def serve_page(config: Path, run: str | None, *, port: int, control: bool) -> int:
    """Raises UsageError where the library is not installed, no host knows the run, or the port is taken."""
    if importlib.util.find_spec("textual_serve") is None:
        raise UsageError("textual-serve is not installed where Motley is: pip install 'motley-cluster[browser]'")
    cluster = load(config)
    return asyncio.run(_serve(cluster, config, run, port, control))


async def _serve(cluster: Cluster, config: Path, run: str | None, port: int, control: bool) -> int:
    from motley.console.commands.serving.browser.page_server import PageServer

    over = asyncio.Event()
    found = await find_run(cluster, run)
    server = PageServer(attach_words(found, config, control=control), found)
    bound = await server.start(port)
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, over.set)
        print(server.guard.first_url, flush=True)
        for line in told(found, bound, os.environ, control=control):
            print(f"motley: {line}", file=sys.stderr)
        await over.wait()
    finally:
        await server.stop()
    print(f"motley: '{found}' is served no more; the run is as it was", file=sys.stderr)
    return 0


async def find_run(cluster: Cluster, run: str | None) -> str:
    """`run` where a host knows it; by default the newest that is on, else the newest. Raises UsageError."""
    from motley.remote.session import runs

    if run is None:
        return await runs.newest(cluster, asker())
    state = await runs.status(cluster, asker())
    known = [str(row["run"]) for row in state["runs"]]
    if run in known:
        return run
    silent = [str(row["host"]) for row in state.get("unreachable", [])]
    text = f"no host knows a run '{run}'; " + (f"the newest is '{known[0]}'" if known else "the hosts know of none")
    raise UsageError(text + (f"; no answer from {', '.join(silent)}" if silent else "") + ": motley status lists them")


def attach_words(run: str, config: Path, *, control: bool) -> list[str]:
    """The command line of one console. Without `control` it can't change the run, whatever the page sends."""
    words = [sys.executable, "-m", "motley.console", "attach", run, "--config", str(config.absolute())]
    return words if control else [*words, "--readonly"]


def told(run: str, port: int, environment: Mapping[str, str], *, control: bool) -> list[str]:
    """What the user needs to know besides the address. Pure but for the machine's and the user's name."""
    may = "may change the run: it has every key of motley attach" if control else "only watches (--control lets it act)"
    return [
        f"'{run}' in a browser, which {may}; the address works once, then that browser has the page until Ctrl-C here",
        f"from another machine: {tunnel(port, environment)}",
    ]


def tunnel(port: int, environment: Mapping[str, str]) -> str:
    """The command for the machine that the browser is on. By the address that the user's own SSH came to, if it did."""
    came_to = environment.get("SSH_CONNECTION", "").split()
    address, ssh_port = (came_to[2], came_to[3]) if len(came_to) == 4 else (socket.gethostname(), "22")
    own_port = [] if ssh_port == "22" else ["-p", ssh_port]
    return pasteable(["ssh", "-N", "-L", f"{port}:127.0.0.1:{port}", *own_port, f"{getpass.getuser()}@{address}"])

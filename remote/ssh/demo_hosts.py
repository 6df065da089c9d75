"""Demo hosts: SSH servers on loopback that the console serves itself, so that a cluster is there on any machine.

`remote.hosts.reach` starts them before it connects, for each host with `connect = "demo"`. A demo host has a home
folder of its own that stays (`~/.motley/demo/<cluster>-<hash of the path of cluster.toml>/<host>/`), a throwaway key
and a port of its own. Commands run as the user, with the environment that sshd would give them; what has put itself
into a session of its own lives on when the server is gone, as on a real host.

    >>> async with DemoHosts(cluster) as demo:
    ...     connection = await SSHConnection.open(cluster.hosts[0], Dialer(demo.endpoints))
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
from pathlib import Path
from types import TracebackType

import asyncssh

from motley.remote.config.cluster import Cluster
from motley.remote.ssh.local_user import local_user
from motley.remote.ssh.route import Endpoint

ADDRESS = "127.0.0.1"
CHUNK = 64 * 1024
GRACE_S = 0.5  # for a command still running when its channel closes
_Child = asyncio.subprocess.Process


class DemoHosts:
    """Serves the demo hosts of a cluster while it is open.

    Two consoles may serve the same ones at once: they share the homes and have ports of their own.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._names = [host.name for host in cluster.hosts if host.way.served]
        place = hashlib.sha256(str(cluster.path.resolve()).encode()).hexdigest()[:8]
        self.folder = Path("~/.motley/demo").expanduser() / f"{cluster.name}-{place}"
        self.endpoints: dict[str, Endpoint] = {}
        self._key: asyncssh.SSHKey | None = None  # the console's own; while it serves
        self._listeners: list[asyncssh.SSHAcceptor] = []
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._ending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> DemoHosts:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Serves every demo host; `endpoints` says where."""
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        for name in self._names:
            await self._serve(name, self._key)

    async def add(self, name: str) -> None:
        """One more demo host, served at once when the others are."""
        if name not in self._names:
            self._names.append(name)
            if self._key is not None:
                await self._serve(name, self._key)

    async def _serve(self, name: str, key: asyncssh.SSHKey) -> None:
        user, home = local_user(), self.folder / name
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        host_key = asyncssh.generate_private_key("ssh-ed25519")
        listener = await asyncssh.listen(
            ADDRESS,
            0,
            server_factory=lambda: _Server(self._connections),
            server_host_keys=[host_key],
            authorized_client_keys=asyncssh.import_authorized_keys(key.export_public_key().decode()),
            process_factory=_Commands(home, user, self._ending).serve,
            encoding=None,
            line_editor=False,
            allow_pty=False,
            agent_forwarding=False,
            x11_forwarding=False,
            gss_host=None,
            password_auth=False,
            kbdint_auth=False,
            host_based_auth=False,
        )
        self._listeners.append(listener)
        self.endpoints[name] = Endpoint(
            address=ADDRESS, port=listener.get_port(), user=user, key=key, host_key=host_key
        )

    async def stop(self) -> None:
        """Closes all connections. Commands still running end with them; what has left their session lives on."""
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections):
            connection.abort()
        await asyncio.gather(*(listener.wait_closed() for listener in self._listeners))
        await asyncio.gather(*(connection.wait_closed() for connection in list(self._connections)))
        while self._ending:
            await asyncio.wait(self._ending)
        self._listeners.clear()
        self.endpoints.clear()
        self._key = None


class _Server(asyncssh.SSHServer):
    """Keeps the list of open connections."""

    def __init__(self, connections: set[asyncssh.SSHServerConnection]) -> None:
        self._connections = connections
        self._mine: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._mine = conn
        self._connections.add(conn)

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._mine is not None:
            self._connections.discard(self._mine)


class _Commands:
    """Runs the commands that come in for one host."""

    def __init__(self, home: Path, user: str, ending: set[asyncio.Task[None]]) -> None:
        self._home = home
        self._user = user
        self._ending = ending

    async def serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        try:
            child = await asyncio.create_subprocess_exec(
                "/bin/sh",
                *(["-c", process.command] if process.command is not None else []),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=self._home,
                env=self._environment(process),
                start_new_session=True,
            )
        except OSError as error:
            process.stderr.write(f"{error}\n".encode())
            process.exit(126)
            return
        task = asyncio.ensure_future(_attend(process, child))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _environment(self, process: asyncssh.SSHServerProcess[bytes]) -> dict[str, str]:
        peer, mine = process.get_extra_info("peername"), process.get_extra_info("sockname")
        return {
            "HOME": str(self._home),
            "PATH": os.environ.get("PATH", os.defpath),
            "USER": self._user,
            "LOGNAME": self._user,
            "SHELL": "/bin/sh",
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "SSH_CONNECTION": f"{peer[0]} {peer[1]} {mine[0]} {mine[1]}",
        }


async def _attend(process: asyncssh.SSHServerProcess[bytes], child: _Child) -> None:
    """Carries bytes both ways until the command ends or its channel closes, and leaves no command behind."""
    assert child.stdin is not None

    async def carry() -> None:
        assert child.stdout is not None
        assert child.stderr is not None
        await asyncio.gather(_out(child.stdout, process.stdout), _out(child.stderr, process.stderr))
        await child.wait()

    carried = asyncio.ensure_future(carry())
    closed = asyncio.ensure_future(process.channel.wait_closed())
    fed = asyncio.ensure_future(_in(process.stdin, child.stdin))
    try:
        await asyncio.wait({carried, closed}, return_when=asyncio.FIRST_COMPLETED)
        if child.returncode is not None and not closed.done():
            _say_how_it_ended(process, child.returncode)
    finally:
        for task in (carried, closed, fed):
            task.cancel()
        await asyncio.gather(carried, closed, fed, return_exceptions=True)
        await end_command(child)
        await asyncio.gather(empty(child.stdout), empty(child.stderr))


def _say_how_it_ended(process: asyncssh.SSHServerProcess[bytes], code: int) -> None:
    if code >= 0:
        process.exit(code)
    else:
        process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))


async def _out(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes]) -> None:
    while chunk := await source.read(CHUNK):
        try:
            sink.write(chunk)
            await sink.drain()
        except (asyncssh.Error, OSError):
            return  # the channel is gone; `_attend` waits for that too


async def _in(source: asyncssh.SSHReader[bytes], sink: asyncio.StreamWriter) -> None:
    try:
        while chunk := await source.read(CHUNK):
            sink.write(chunk)
            await sink.drain()
    except (asyncssh.Error, OSError):
        pass  # the command reads no more, or the channel is gone
    finally:
        sink.close()


async def end_command(child: _Child) -> None:
    """Ends a command, and what it started in its own session. What has left that session stays."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if child.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        try:
            await asyncio.wait_for(child.wait(), GRACE_S)
        except asyncio.TimeoutError:
            continue


async def empty(source: asyncio.StreamReader | None) -> None:
    """What a command that was ended has printed, and nobody reads: until then its pipe stays open here."""
    if source is not None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(source.read(), GRACE_S)

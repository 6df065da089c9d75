"""What a connection to a host can do, and which way a host is reached by its `connect`.

`remote.hosts.pool` opens connections by a `Reach`; whatever is done on a host goes through a `Connection`, and knows
nothing of the way.

    >>> connection = await Reach(cluster).open(host)
    >>> (await connection.run(["uname", "-s"], timeout_s=5)).stdout
    b'Linux\\n'
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from motley.remote.config.cluster import Cluster, Host
from motley.remote.config.ways import Connect
from motley.remote.hosts.local_connection import LocalConnection
from motley.remote.hosts.pod_connection import PodConnection
from motley.remote.hosts.pod_log import PodLog, logs_of
from motley.remote.hosts.slurm_connection import SlurmConnection
from motley.remote.ssh.commands import Result
from motley.remote.ssh.connection import SSHConnection
from motley.remote.ssh.demo_hosts import DemoHosts
from motley.remote.ssh.dial import Dialer
from motley.remote.ssh.process import MAX_LINE, RemoteProcess

__all__ = ["MAX_LINE", "Connection", "Reach", "RemoteProcess", "Result"]


class Connection(Protocol):
    """An open connection to a host."""

    @property
    def host(self) -> Host: ...

    @property
    def is_open(self) -> bool: ...

    @property
    def instance(self) -> str:
        """Which of several machines the host is, one after the other; empty where it stays the same."""

    @property
    def moves(self) -> bool:
        """Whether it may be another machine with the next connection, with the same home folder or another one."""

    @property
    def own_address(self) -> str | None:
        """This machine's numeric address on the way to the host; None where it is not known."""

    async def lost(self) -> str:
        """Waits for the connection to end, by whatever side, and says why."""

    async def close(self) -> None:
        """Commands under way end with it; what has left their session lives on."""

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_s: float,
        cwd: str | None = None,
        sent: Callable[[int], object] = ...,
        most: int = MAX_LINE,
        take: Callable[[bytes], object] | None = None,
    ) -> Result:
        """One command to its end: `remote.ssh.commands.Commands.run` says how, and what it raises."""

    def stream(self, argv: Sequence[str], *, cwd: str | None = None) -> AbstractAsyncContextManager[RemoteProcess]:
        """A running command whose output is read as it comes. Leaving the block ends the way to it."""


class Reach:
    """The ways to the hosts of one cluster, and what they share. It may be used again after `close`."""

    def __init__(self, cluster: Cluster, connect_s: float | None = None) -> None:
        """`connect_s`: how long a connection may take, in place of `dial.CONNECT_S`."""
        self.demo = DemoHosts(cluster)
        self._connect_s = connect_s
        self._slurm_options, self._kubernetes = cluster.slurm, cluster.kubernetes
        self._dialer: Dialer | None = None
        self._starting = asyncio.Lock()
        self._ways: dict[Connect, Callable[[Host], Awaitable[Connection]]] = {
            "ssh": self._dial,
            "demo": self._dial,
            "local": LocalConnection.open,
            "slurm": self._step,
            "kubernetes": self._exec,
        }

    async def add(self, host: Host) -> None:
        """A host that is new in cluster.toml, or was changed there."""
        if host.way.served:
            await self.demo.add(host.name)

    async def open(self, host: Host) -> Connection:
        """Raises a HostError with cause and remedy, at the latest after `dial.DEADLINE_S`."""
        return await self._ways[host.connect](host)

    async def _dial(self, host: Host) -> Connection:
        return await SSHConnection.open(host, await self.start())

    async def _step(self, host: Host) -> Connection:
        return await SlurmConnection.open(host, self._slurm_options, await self.start())

    async def _exec(self, host: Host) -> Connection:
        return await PodConnection.open(host, self._kubernetes)

    async def printed(self, host: Host) -> list[PodLog]:
        """Of hosts that say what they do of themselves, too: what each machine that the host was has said, the newest
        last. Raises a HostError."""
        return await logs_of(host, self._kubernetes)

    async def start(self) -> Dialer:
        """Serves the demo hosts, once."""
        async with self._starting:
            if self._dialer is None:
                await self.demo.start()
                self._dialer = Dialer(self.demo.endpoints, self._connect_s)
            return self._dialer

    async def close(self) -> None:
        if self._dialer is not None:
            await self._dialer.close()
            self._dialer = None
            await self.demo.stop()

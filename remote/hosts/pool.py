"""The connections to all hosts of a cluster: opened at once, kept, opened again when one was lost.

`remote.session.session`, `remote.preflight.check` and the verbs of the command line hold one `Hosts`. Demo hosts are
served first.

    >>> async with Hosts(cluster) as hosts:
    ...     found = await hosts.connect(emit)
    ...     connection = await hosts.get("box1")
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Union

from motley.remote.config.cluster import Cluster, Host
from motley.remote.errors import HostError, UsageError
from motley.remote.feed import Progress
from motley.remote.hosts.image_contents import ImageContents
from motley.remote.hosts.pod_log import PodLog
from motley.remote.hosts.reach import Connection, Reach
from motley.remote.hosts.this_machine import Elsewhere, machines_of
from motley.trainer.contract.spec import Container
from motley.trainer.host.open_files import raise_limit

Outcome = Union[Connection, HostError]
Emit = Callable[[Progress], None]


def python_of(host: Host) -> str:
    """The Python that runs the trainer there: where cluster.toml names none, python3 or the console's own."""
    return host.python or (sys.executable if host.way.own_python else "python3")


class Hosts:
    def __init__(self, cluster: Cluster, connect_s: float | None = None) -> None:
        """`connect_s`: how long a connection may take, in place of `dial.CONNECT_S`."""
        raise_limit()  # a connection a host, or a pipe or two where a program of this machine makes it
        self.cluster = cluster
        self._hosts = {host.name: host for host in cluster.hosts}
        self._reach = Reach(cluster, connect_s)
        self._written: dict[str, Host] = {}  # as in cluster.toml, those that run with another Python
        self._inside: dict[str, ImageContents] = {}  # the images that ranks run in, once they were looked into
        self._away: dict[str, Host] = {}  # as in cluster.toml: the machine itself, which is another one than this
        self._open: dict[str, Connection] = {}
        self._locks = {name: asyncio.Lock() for name in self._hosts}

    async def __aenter__(self) -> Hosts:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def put(self, host: Host) -> Host:
        """Take in a host that is new in cluster.toml, or that was mended there. Returns it as it is reached: one that
        was given its place stays there, unless it is given another one."""
        held_before = self._hosts.get(host.name)
        given = (host.pod is not None and host.pod.run) or (host.slurm is not None and host.slurm.job)
        if host.way.placed and held_before is not None and not given:
            host = dataclasses.replace(host, address=held_before.address, slurm=held_before.slurm, pod=held_before.pod)
        if self._away.get(host.name, self._written.get(host.name, self._hosts.get(host.name))) == host:
            return self._hosts[host.name]
        self._written.pop(host.name, None)
        self._away.pop(host.name, None)
        self._inside.pop(host.name, None)
        held = self._open.pop(host.name, None)
        if held is not None:
            await held.close()
        self._hosts[host.name] = host
        self._locks.setdefault(host.name, asyncio.Lock())
        self._renew_cluster()
        await self._reach.add(host)
        return host

    async def send_away(self, name: str) -> None:
        """From now on the host, which is the machine itself, is another one than this (`this_machine.elsewhere`): it is
        reached by its address, if it has one."""
        if name in self._away:
            return
        host = self._away[name] = self._hosts[name]
        held = self._open.pop(name, None)
        if held is not None:
            await held.close()
        if host.address:
            self._hosts[name] = dataclasses.replace(host, connect="ssh", python=host.python or "python3")
            self._renew_cluster()

    @property
    def away(self) -> tuple[Elsewhere, ...]:
        """The hosts that can't be reached from this machine, since they are another one."""
        return tuple(Elsewhere(name) for name, host in self._away.items() if not host.address)

    @property
    def all_here(self) -> bool:
        """Whether no host that is the machine itself is another one than this."""
        return not self._away

    def machines(self, names: Collection[str]) -> dict[str, str]:
        """Which machine that of these hosts is that is this one; empty where none is."""
        return {
            name: this for name, this in machines_of(self.cluster).items() if name in names and name not in self._away
        }

    def run_with(self, name: str, python: str) -> None:
        """From now on the host's Python is that of an environment there (`remote.provision.virtualenv`)."""
        self._written.setdefault(name, self._hosts[name])
        self._hosts[name] = dataclasses.replace(self._hosts[name], python=python)
        self._renew_cluster()

    def look_into(self, name: str, inside: ImageContents) -> None:
        """From now on the ranks of the host run in this image (`remote.provision.container_images`)."""
        self._inside[name] = inside

    def inside(self, name: str) -> ImageContents | None:
        """The image that the ranks of the host run in, as far as it is known."""
        return self._inside.get(name)

    def container(self, name: str) -> Container | None:
        """The same for the spec of the host; None where its ranks run in no container."""
        inside = self._inside.get(name)
        return inside.container if inside is not None else None

    def as_written(self, name: str) -> Host:
        """The host as cluster.toml has it, with the Python that environments are made with."""
        return self._written.get(name, self.named(name))

    def _renew_cluster(self) -> None:
        self.cluster = dataclasses.replace(self.cluster, hosts=tuple(self._hosts.values()))

    def adopt(self, cluster: Cluster) -> None:
        """Go on with a cluster whose hosts are reached as those of this one; connections stay open."""
        self.cluster = cluster
        self._hosts = {host.name: host for host in cluster.hosts}

    def named(self, name: str) -> Host:
        """Raises UsageError when the cluster has no host of that name."""
        if name not in self._hosts:
            raise UsageError(f"there is no host {name}; the hosts are {', '.join(self._hosts)}")
        return self._hosts[name]

    async def connect(self, emit: Emit) -> dict[str, Outcome]:
        """Every host at once: its connection, or why there is none. Bounded by `dial.DEADLINE_S`. Nothing where no
        command can be run on them."""
        if not self.take_commands:
            return {}
        await self._reach.start()
        outcomes = await asyncio.gather(*(self.attempt(name, emit) for name in self._hosts))
        return dict(zip(self._hosts, outcomes, strict=True))

    async def attempt(self, name: str, emit: Emit) -> Outcome:
        """One host's connection, or why there is none."""
        host = self._hosts[name]
        emit(Progress(host=name, stage="connect", text=f"connecting to {host.address or host.way.called}"))
        try:
            connection = await self.get(name)
        except HostError as error:
            emit(Progress(host=name, stage="connect", text=error.cause, done=True, failed=True))
            return error
        emit(Progress(host=name, stage="connect", text="connected", fraction=1.0, done=True))
        return connection

    async def get(self, name: str) -> Connection:
        """The open connection to a host, opened anew when it was lost. Raises a HostError when that fails."""
        host = self.named(name)
        if name in self._away and not host.address:
            raise Elsewhere(name)
        async with self._locks[name]:
            held = self._open.get(name)
            if held is not None and held.is_open:
                return held
            connection = self._open[name] = await self._reach.open(host)
            return connection

    @property
    def take_commands(self) -> bool:
        """Whether anything can be run on them; where not, they are known by what they print (`printed`)."""
        return all(host.pod is None or host.pod.commands for host in self._hosts.values())

    async def printed(self, name: str) -> list[PodLog]:
        """`Reach.printed` of a host."""
        return await self._reach.printed(self.named(name))

    async def close(self) -> None:
        """Closes everything; the runs on the hosts go on. It may be used again afterwards."""
        await asyncio.gather(*(connection.close() for connection in self._open.values()))
        self._open.clear()
        await self._reach.close()

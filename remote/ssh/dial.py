"""Opens SSH connections and turns every way that can fail into an error with host, cause and remedy.

`remote.ssh.connection` and `remote.hosts.pool` hold one `Dialer` for all hosts of a cluster: they share its connections
to jump hosts, its reading of known_hosts, and a gate before each sshd, which drops connections that come all at once.
Host keys are strict, nothing ever prompts, and every outcome is known within `DEADLINE_S`.

    >>> raw, watch = await Dialer().dial(host)
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncssh

from motley.remote.config.cluster import Host
from motley.remote.errors import HostError, Unreachable
from motley.remote.ssh.dial_errors import LOST, PasswordWatch, Watch, explain
from motley.remote.ssh.known_hosts import KnownHosts
from motley.remote.ssh.route import Endpoint, Route, demo_route, jump_routes, known_hosts_of, route_of

CONNECT_S = 5.0  # name, TCP, key exchange and login together
DEADLINE_S = 9.5  # the same with jump hosts and waiting at the gate
KEEPALIVE_S = 2.0
KEEPALIVE_COUNT = 3  # so a frozen host is noticed within 8 s
RETRY_S = (0.1, 0.3, 0.9)  # between attempts, when it hangs up before the login
AT_ONCE = 8  # connections being opened to one sshd: it drops some from 10 on (MaxStartups)

Raw = asyncssh.SSHClientConnection
_Stamp = tuple[tuple[Path, tuple[int, int]], ...]


class Dialer:
    """What the connections of one cluster share."""

    def __init__(self, endpoints: Mapping[str, Endpoint] | None = None, connect_s: float | None = None) -> None:
        """`endpoints`: the demo hosts, by name; more may be put into it later. `connect_s`: in place of `CONNECT_S`."""
        self._endpoints = {} if endpoints is None else endpoints
        self._connect_s = connect_s
        self._gates: dict[tuple[str, int], asyncio.Semaphore] = {}
        self._jumps: dict[tuple[tuple[str, str, int], ...], asyncio.Task[Raw]] = {}
        self._known: dict[_Stamp, KnownHosts] = {}

    async def dial(self, host: Host) -> tuple[Raw, Watch]:
        """An open, authenticated connection. Raises a HostError within `DEADLINE_S`."""
        try:
            return await asyncio.wait_for(self._dial_host(host), DEADLINE_S)
        except asyncio.TimeoutError as error:
            raise _silent(host.name, host.address) from error

    async def open(self, route: Route, tunnel: Raw | None, password: str | None = None) -> tuple[Raw, Watch]:
        """A connection along one route alone, through one that is open already; by password in place of keys.

        Raises a HostError within `DEADLINE_S`.
        """
        try:
            return await asyncio.wait_for(self._dial(route, tunnel, password), DEADLINE_S)
        except asyncio.TimeoutError as error:
            raise _silent(route.host, route.target) from error

    async def close(self) -> None:
        """Closes the connections to jump hosts."""
        for task in self._jumps.values():
            if not task.done():
                task.cancel()
            elif not task.cancelled() and task.exception() is None:
                task.result().close()
                await task.result().wait_closed()
        self._jumps.clear()

    async def _dial_host(self, host: Host) -> tuple[Raw, Watch]:
        endpoint = self._endpoints.get(host.name)
        if endpoint is not None:
            return await self._dial(demo_route(host.name, endpoint), None)
        route = route_of(host)
        return await self._dial(route, await self._through(route))

    async def _through(self, route: Route) -> Raw | None:
        """The shared connection to the last jump host on the way, if there is one."""
        if route.jump is None:
            return None
        key: tuple[tuple[str, str, int], ...] = ()
        tunnel: Raw | None = None
        for hop in jump_routes(route.host, route.jump):
            key += ((hop.user, hop.hostname, hop.port),)
            task = self._jumps.get(key)
            if task is None or (task.done() and _is_gone(task)):
                task = self._jumps[key] = asyncio.ensure_future(self._open_jump(hop, tunnel))
                task.add_done_callback(_look_at)
            try:
                tunnel = await asyncio.shield(task)
            except HostError as error:
                cause = f"by way of the jump host {hop.target}: {error.cause}"
                raise type(error)(route.host, cause, error.remedy, error.new_key) from error
        return tunnel

    async def _open_jump(self, hop: Route, tunnel: Raw | None) -> Raw:
        return (await self._dial(hop, tunnel))[0]

    async def _dial(self, route: Route, tunnel: Raw | None, password: str | None = None) -> tuple[Raw, Watch]:
        known = self._read_known(route)
        within_s = CONNECT_S if self._connect_s is None else self._connect_s
        gate = self._gates.setdefault((route.hostname, route.port), asyncio.Semaphore(AT_ONCE))
        async with gate:
            for pause_s in RETRY_S:
                try:
                    return await _attempt(route, known, tunnel, within_s, password)
                except Unreachable as error:  # perhaps sshd had too many at once: it counts those just logged in too
                    if not isinstance(error.__cause__, LOST):
                        raise
                await asyncio.sleep(pause_s)
            return await _attempt(route, known, tunnel, within_s, password)

    def _read_known(self, route: Route) -> KnownHosts:
        """Read anew when a file has changed: the user may have mended it while the console is open."""
        if route.endpoint is not None:
            return known_hosts_of(route)
        stamp: _Stamp = tuple((path, _changed(path)) for path in route.known_files)
        if stamp not in self._known:
            self._known[stamp] = known_hosts_of(route)
        return self._known[stamp]


async def _attempt(
    route: Route, known: KnownHosts, tunnel: Raw | None, within_s: float, password: str | None
) -> tuple[Raw, Watch]:
    watch = Watch() if password is None else PasswordWatch(password)
    try:
        return await _connect(route, known, watch, tunnel, within_s), watch
    except (asyncssh.Error, OSError, ValueError, asyncio.TimeoutError) as error:
        raise explain(error, route, watch, known, within_s) from error


async def _connect(route: Route, known: KnownHosts, watch: Watch, tunnel: Raw | None, within_s: float) -> Raw:
    demo = route.endpoint
    keys: Any = [demo.key] if demo else [str(p) for p in route.identities] or ()
    by_password = isinstance(watch, PasswordWatch)
    return await asyncssh.connect(
        route.target,
        route.port,
        tunnel=tunnel,
        config=[str(path) for path in route.config],
        username=route.user,
        client_factory=lambda: watch,
        known_hosts=lambda host, _address, port: known.trusted(host, port),
        client_keys=None if by_password else keys,
        agent_identities=_agent_identities(route),
        agent_path=None if demo else (),
        ignore_encrypted=True,
        password_auth=by_password,
        kbdint_auth=by_password,
        host_based_auth=False,
        gss_host=None,  # no Kerberos: a key exchange by it would take the place of the host key
        agent_forwarding=False,
        x11_forwarding=False,
        kex_algs="^curve25519-sha256" if demo else (),  # quick, for many hosts in one process
        encryption_algs=() if "Ciphers" in route.chosen else "^aes128-gcm@openssh.com",
        server_host_key_algs=() if "HostKeyAlgorithms" in route.chosen else known.algorithms(route.alias, route.port),
        connect_timeout=within_s,
        login_timeout=within_s,
        keepalive_interval=KEEPALIVE_S,
        keepalive_count_max=KEEPALIVE_COUNT,
    )


def _silent(host: str, address: str) -> Unreachable:
    remedy = "Look whether the machine and the way to it are up, then try again."
    return Unreachable(host, f"{address} did not answer within {DEADLINE_S:g} s", remedy)


def _agent_identities(route: Route) -> list[bytes] | None:
    """Of an agent with many keys offer just the chosen ones: sshd hangs up after six refused."""
    if not route.only_identities:
        return None
    public = []
    for path in route.identities:
        for candidate in (path.with_name(path.name + ".pub"), path):
            try:
                public.append(asyncssh.read_public_key(candidate).public_data)
                break
            except (OSError, asyncssh.KeyImportError):
                continue
    return public or None


def _is_gone(task: asyncio.Task[Raw]) -> bool:
    return task.cancelled() or task.exception() is not None or task.result().is_closed()


def _look_at(task: asyncio.Task[Raw]) -> None:
    """The hosts waiting for a jump host report its failure; with none left waiting it is no news."""
    if not task.cancelled():
        task.exception()


def _changed(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size

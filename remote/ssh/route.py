"""How to reach a host: what cluster.toml and ~/.ssh/config say together, worked out before anything is dialled.

`remote.ssh.dial` makes a `Route` for each host and each jump host. cluster.toml overrides ~/.ssh/config, which
overrides ssh's defaults; a demo host has an `Endpoint`, and nothing of the user's configuration applies to it.

    >>> route_of(host)
    Route(host='box1', target='box1', hostname='192.168.0.7', port=22, user='ada', …)
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from motley.remote.config.cluster import Host
from motley.remote.errors import HostError
from motley.remote.quoting import pasteable
from motley.remote.ssh.known_hosts import KnownHosts
from motley.remote.ssh.local_user import name_the_user
from motley.remote.ssh.new_host_keys import OWN
from motley.remote.ssh.shell import ssh_words

DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk")
ALGORITHMS = ("Ciphers", "HostKeyAlgorithms")
MAX_HOPS = 4
_JUMP = re.compile(r"(?:ssh://)?(?:(?P<user>[^@]+)@)?(?P<host>\[[^\]]+\]|[^:\[\]]+)(?::(?P<port>\d{1,5}))?/?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a demo host listens, and the keys both sides hold for it. Made by `remote.ssh.demo_hosts`."""

    address: str
    port: int
    user: str
    key: asyncssh.SSHKey
    host_key: asyncssh.SSHKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    host: str  # its name in cluster.toml, for messages
    target: str  # the address as written there
    hostname: str  # after ~/.ssh/config
    port: int
    user: str
    alias: str  # the name that known_hosts lists it by
    jump: str | None  # [user@]host[:port], several with commas
    identities: tuple[Path, ...]  # key files to try; empty: the default ones
    only_identities: bool  # of the agent, offer just these
    known_files: tuple[Path, ...]
    config: tuple[Path, ...]  # asyncssh reads the remaining options there
    chosen: frozenset[str]  # of `ALGORITHMS`, those that the user's configuration decides
    endpoint: Endpoint | None = None
    ssh_words: tuple[str, ...]  # the same connection as a command of OpenSSH's ssh

    def command(self, *words: str) -> str:
        """`ssh` to this host as a command to paste."""
        return pasteable(["ssh", *self.ssh_words, *words])

    @property
    def verbose(self) -> str:
        """The command that shows what ssh sees on the way."""
        return pasteable(["ssh", "-v", *self.ssh_words])

    @property
    def key_files(self) -> tuple[Path, ...]:
        """The key files that are there to be tried."""
        if self.identities:
            return self.identities
        return tuple(p for p in (_home() / ".ssh" / name for name in DEFAULT_KEYS) if p.is_file())


def demo_route(name: str, endpoint: Endpoint) -> Route:
    return Route(
        host=name,
        target=endpoint.address,
        hostname=endpoint.address,
        port=endpoint.port,
        user=endpoint.user,
        alias=endpoint.address,
        jump=None,
        identities=(),
        only_identities=True,
        known_files=(),
        config=(),
        chosen=frozenset(),
        endpoint=endpoint,
        ssh_words=("-p", str(endpoint.port), endpoint.address),
    )


def route_of(host: Host) -> Route:
    """Raises HostError when ~/.ssh/config can't be read or an identity is not there."""
    return _route(host.name, host.address, user=host.user, port=host.port, identity=host.identity, jump=host.jump)


def jump_routes(host: str, jump: str, depth: int = 0) -> list[Route]:
    """The hops of a jump specification in the order they are dialled, with the way to the first one before it.

    Raises HostError on a specification that can't be read, or that goes in circles.
    """
    routes = []
    for hop in jump.split(","):
        match = _JUMP.fullmatch(hop.strip())
        if match is None:
            remedy = "Write it as [user@]host[:port], several separated by commas."
            raise HostError(host, f"the jump host {hop.strip()!r} can't be read", remedy)
        port = int(match["port"]) if match["port"] else None
        routes.append(_route(host, match["host"].strip("[]"), user=match["user"], port=port, identity=None, jump=None))
    first = routes[0]
    if first.jump is None or first.jump == jump:  # `Host *` with a ProxyJump covers the jump host too
        return routes
    if depth == MAX_HOPS:
        remedy = "Look at the ProxyJump lines in ~/.ssh/config."
        raise HostError(host, f"the jump host {first.target} is behind more than {MAX_HOPS} others", remedy)
    return jump_routes(host, first.jump, depth + 1) + routes


def _route(
    name: str, target: str, *, user: str | None, port: int | None, identity: str | None, jump: str | None
) -> Route:
    name_the_user()
    config_file = _home() / ".ssh" / "config"
    config = (config_file,) if os.access(config_file, os.R_OK) else ()
    try:
        options = asyncssh.SSHClientConnectionOptions(
            host=target,
            port=port if port is not None else (),
            username=user if user is not None else (),
            config=[str(p) for p in config],
            client_keys=None,
            known_hosts=b"#",
        )
    except (ValueError, OSError) as error:
        raise HostError(name, f"{config_file} can't be used: {error}", "Mend that line of it.") from error
    get = options.config.get
    if identity is not None:
        identities: tuple[Path, ...] = (_expand(identity),)
        if not identities[0].is_file():
            make = pasteable(["ssh-keygen", "-t", "ed25519", "-f", identity])
            remedy = f"Correct identity in cluster.toml, or make the key: {make}"
            raise HostError(name, f"the identity {identity} is not there", remedy)
    else:
        identities = tuple(p for p in map(_expand, _texts(get("IdentityFile"))) if p.is_file())
    way = jump if jump is not None else options.tunnel if isinstance(options.tunnel, str) else None
    user_files = _texts(get("UserKnownHostsFile")) or ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"]
    global_files = _texts(get("GlobalKnownHostsFile")) or ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"]
    return Route(
        host=name,
        target=target,
        hostname=options.host,
        port=options.port,
        user=options.username,
        alias=options.host_key_alias or options.host,
        jump=None if way is None or way.lower() in ("", "none") else way,
        identities=identities,
        only_identities=identity is not None or bool(get("IdentitiesOnly")),
        known_files=tuple(map(_expand, [*user_files, *global_files, OWN])),
        config=config,
        chosen=frozenset(name for name in ALGORITHMS if get(name) is not None),
        ssh_words=tuple(ssh_words(target, user=user, port=port, identity=identity, jump=jump)),
    )


def known_hosts_of(route: Route) -> KnownHosts:
    if route.endpoint is not None:
        return KnownHosts.only(route.alias, route.port, route.endpoint.host_key)
    return KnownHosts.read(route.known_files)


def _texts(value: Any) -> Sequence[str]:
    return [str(v) for v in value] if isinstance(value, (list, tuple)) else []


def _home() -> Path:
    return Path("~").expanduser()


def _expand(path: str) -> Path:
    return Path(os.path.expanduser(path.replace("%d", str(_home()))))

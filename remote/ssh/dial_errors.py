"""From an exception of asyncssh or the system to an error that names host, cause and remedy.

`remote.ssh.dial` calls `explain` for every connection that failed; `Watch` keeps what was seen of the host until then.

    >>> explain(ConnectionRefusedError(), route, Watch(), known, 5.0).cause
    'nothing listens on port 22 of 192.168.0.7'
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from pathlib import Path

import asyncssh

from motley.remote.errors import (
    AuthenticationFailed,
    HostError,
    HostKeyChanged,
    HostKeyUnknown,
    NoPasswords,
    Unreachable,
)
from motley.remote.quoting import pasteable
from motley.remote.sanitize import clean
from motley.remote.ssh.known_hosts import KnownHosts, describe, listed, new_key
from motley.remote.ssh.route import Route

LOST = (asyncssh.ConnectionLost, ConnectionResetError, BrokenPipeError)
_UP = "Look whether the machine is switched on and in this network"


class Watch(asyncssh.SSHClient):
    """What one connection has seen: whether somebody answered, a host key nobody knows, its end."""

    def __init__(self) -> None:
        self.answered = False
        self.host_key: asyncssh.SSHKey | None = None
        self.ended = asyncio.Event()
        self.reason = ""

    def connection_made(self, _conn: asyncssh.SSHClientConnection) -> None:
        self.answered = True

    def validate_host_public_key(self, _host: str, _addr: str, _port: int, key: asyncssh.SSHKey) -> bool:
        self.host_key = key
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.reason = clean(str(exc)) if exc is not None else "the connection was closed"
        self.ended.set()


class PasswordWatch(Watch):
    """Of a connection that logs in by password. It gives that once, however sshd asks for it, and forgets it."""

    def __init__(self, password: str) -> None:
        super().__init__()
        self._password: str | None = password
        self.wanted = False  # sshd asked for one

    def password_auth_requested(self) -> str | None:
        self.wanted = True
        given, self._password = self._password, None
        return given

    def kbdint_auth_requested(self) -> str | None:
        return "" if self._password is not None else None

    def kbdint_challenge_received(
        self, _name: str, _instructions: str, _lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str] | None:
        if not prompts:
            return []
        given = self.password_auth_requested() if len(prompts) == 1 and not prompts[0][1] else None
        return None if given is None else [given]


def explain(error: Exception, route: Route, watch: Watch, known: KnownHosts, limit_s: float) -> HostError:
    """`limit_s`: how long the connection was tried for."""
    where = route.hostname if route.hostname == route.target else f"{route.target} ({route.hostname})"
    at = f"port {route.port} of {where}"
    if isinstance(error, asyncssh.HostKeyNotVerifiable) or _no_common_host_key(error):
        return _host_key(error, route, watch, known)
    if isinstance(error, asyncssh.PermissionDenied) or "Too many authentication failures" in str(error):
        return _password(route, watch) if isinstance(watch, PasswordWatch) else _authentication(error, route)
    if isinstance(error, asyncssh.ChannelOpenError):
        cause = f"the jump host can't reach {at}: {clean(str(error))}"
        return Unreachable(route.host, cause, f"{_UP}, as the jump host sees it, and that sshd runs there.")
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)):
        if watch.answered:
            cause = f"{at} took the connection and then said nothing for {limit_s:g} s"
            return Unreachable(route.host, cause, f"Look whether that is sshd, and not frozen: {route.verbose}")
        cause = f"no answer from {at} within {limit_s:g} s"
        return Unreachable(route.host, cause, f"{_UP}, and no firewall drops the connection: {route.verbose}")
    if isinstance(error, socket.gaierror):
        cause = f"the name {route.hostname} can't be resolved: {error.strerror}"
        return Unreachable(route.host, cause, "Correct address in cluster.toml, or give its numeric address.")
    if isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(error):
        remedy = "Correct port in cluster.toml, or start sshd on that machine: sudo systemctl start ssh"
        return Unreachable(route.host, f"nothing listens on {at}", remedy)
    if isinstance(error, LOST):
        cause = f"{at} hung up before the login: {clean(str(error)) or 'connection reset'}"
        return Unreachable(route.host, cause, f"sshd's log on that machine says why; or look at {route.verbose}")
    if isinstance(error, asyncssh.KeyImportError):
        cause = f"a key in {', '.join(map(str, route.key_files))} can't be read: {clean(str(error))}"
        return AuthenticationFailed(route.host, cause, "Name another key as identity in cluster.toml.")
    if isinstance(error, OSError) and error.filename is not None:
        cause = f"can't use {error.filename}: {error.strerror}"
        return Unreachable(route.host, cause, "Make it readable, or take it out of ~/.ssh/config or cluster.toml.")
    if isinstance(error, OSError):
        return Unreachable(route.host, f"can't reach {at}: {error.strerror or clean(str(error))}", f"{_UP}.")
    cause = f"SSH to {at} failed: {clean(str(error)) or type(error).__name__}"
    return Unreachable(route.host, cause, f"Look at what ssh says: {route.verbose}")


def _no_common_host_key(error: Exception) -> bool:
    return isinstance(error, asyncssh.KeyExchangeFailed) and "host key" in str(error).lower()


def _host_key(error: Exception, route: Route, watch: Watch, known: KnownHosts) -> HostError:
    shown = f"It shows {describe(watch.host_key)}" if watch.host_key is not None else clean(str(error))
    places = known.places(route.alias, route.port)
    name = listed(route.alias, route.port)
    if "revoked" in str(error):
        remedy = f"Whoever revoked it knows why. The line is in one of {', '.join(map(str, route.known_files))}."
        return HostKeyChanged(route.host, f"the host key of {name} is revoked in known_hosts", remedy)
    if places:
        files = dict.fromkeys(place.rsplit(":", 1)[0] for place in places)
        cause = (
            f"the host key of {name} is not the one in {', '.join(places)}. {shown}. "
            "Either the machine was set up anew, or another one answers in its place, to which you would give "
            "your commands and data"
        )
        forget = " && ".join(pasteable(["ssh-keygen", "-f", file, "-R", name]) for file in files)
        remedy = f"If its owner confirms the new key, forget the old one and accept it: {forget} && "
        return HostKeyChanged(route.host, cause, remedy + route.command("true"))
    cause = f"the host key of {name} is not known yet. {shown}"
    remedy = f"If that is the key of this machine, accept it: {route.command('true')}"
    shown_key = watch.host_key
    offered = None if shown_key is None else new_key(route.host, route.alias, route.port, shown_key)
    return HostKeyUnknown(route.host, cause, remedy, offered)


def _authentication(error: Exception, route: Route) -> HostError:
    files = [str(path) for path in route.key_files]
    agent = ["the keys of the SSH agent"] if os.environ.get("SSH_AUTH_SOCK") else []
    tried = ", ".join(agent + files) or "none: there is no key in ~/.ssh and no SSH agent"
    cause = f"{route.user} may not log in on {route.hostname} with the keys tried ({tried})"
    if "Too many" in str(error):
        remedy = "It hung up after too many keys: name the right one as identity in cluster.toml."
        return AuthenticationFailed(route.host, cause, remedy)
    locked = [path for path in route.key_files if has_passphrase(path)]
    jump = ["-o", f"ProxyJump={route.jump}"] if "-J" in route.ssh_words else []
    port = ["-p", str(route.port)] if "-p" in route.ssh_words else []
    identity = ["-i", files[0]] if "-i" in route.ssh_words and files else []
    copy = pasteable(["ssh-copy-id", *jump, *identity, *port, f"{route.user}@{route.target}"])
    if locked:
        cause += f"; {locked[0]} has a passphrase and is not in the agent"
        copy = f"{pasteable(['ssh-add', str(locked[0])])}; if that is not enough: {copy}"
    elif not files and not agent:
        copy = f"ssh-keygen -t ed25519 && {copy}"
    return AuthenticationFailed(route.host, cause, f"Correct user in cluster.toml, or let your key in: {copy}")


def _password(route: Route, watch: PasswordWatch) -> HostError:
    if watch.wanted:
        remedy = "Correct user in cluster.toml if that is somebody else's name; then try again."
        return AuthenticationFailed(route.host, f"the password of {route.user} was not accepted", remedy)
    cause = f"sshd on {route.hostname} lets nobody in by password"
    return NoPasswords(route.host, cause, "Your public key must get there in another way, at its own console perhaps.")


def has_passphrase(path: Path) -> bool:
    try:
        asyncssh.read_private_key(path)
    except asyncssh.KeyImportError as error:
        return "assphrase" in str(error)
    except OSError:
        return False
    return False

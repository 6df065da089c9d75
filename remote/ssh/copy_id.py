"""`motley keys`: every host lets the user in by key afterwards, or says why not.

All hosts are tried by key at once. Those that refuse are taken one after the other, each after its jump hosts: the
user accepts an unknown host key, gives the password once, the public key goes into `~/.ssh/authorized_keys` there,
and a new connection proves that it works. The password is held in memory for that one connection, and nowhere else.

    >>> await let_in(cluster.hosts, user, print)
    [Entry(host='box1', where='ada@192.168.0.7', put=True), …]
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from motley.remote.config.cluster import Host
from motley.remote.errors import AuthenticationFailed, CommandFailed, HostError, HostKeyUnknown, NoPasswords
from motley.remote.ssh.connection import SSHConnection
from motley.remote.ssh.dial import Dialer, Raw
from motley.remote.ssh.new_host_keys import Ask, introduced, new_keys
from motley.remote.ssh.route import Route, jump_routes, route_of
from motley.remote.ssh.user_key import DEFAULT, UserKey, is_missing, make_key, own_key

INSTALL_S = 15.0
# sshd heeds no file that others may write, nor one below such a folder.
INSTALL = (
    "umask 077; read -r kind data comment; cd && mkdir -p .ssh && touch .ssh/authorized_keys"
    " && chmod go-w . && chmod 700 .ssh && chmod 600 .ssh/authorized_keys || exit 1; "
    'if grep -v "^[[:space:]]*#" .ssh/authorized_keys | grep -qF "$data"; then exit 0; fi; '
    '[ -z "$(tail -c 1 .ssh/authorized_keys)" ] || echo >> .ssh/authorized_keys; '
    'printf "%s %s %s\\n" "$kind" "$data" "$comment" >> .ssh/authorized_keys || exit 1; '
    "if command -v restorecon >/dev/null; then restorecon -RF .ssh; fi; exit 0"
)
_Way = tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """How the user is asked. An empty password leaves a host out."""

    accept: Ask  # a host key
    password: Callable[[str], Awaitable[str]]  # of user@host
    create: Callable[[str], Awaitable[bool]]  # a key, as the file of that path


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """How it ended for a host, or a jump host on the way to it."""

    host: str  # in cluster.toml
    where: str  # user@host[:port]; empty when that isn't known
    put: bool = False  # the key was not there before
    error: HostError | None = None


async def let_in(hosts: Sequence[Host], user: User, say: Callable[[Entry], None]) -> list[Entry]:
    """An entry for each host, and for each jump host that got the key; `say` hears each as it comes."""
    await _missing_identities(hosts, user)
    work = _CopyId(user, say)
    try:
        tried = await asyncio.gather(*map(work.try_by_key, hosts))
        for host, error in zip(hosts, tried, strict=True):
            if isinstance(error, (HostKeyUnknown, AuthenticationFailed)):
                await work.bring(host)
            else:
                work.note(Entry(host=host.name, where=_where_of(host), error=error))
    finally:
        await work.close()
    return work.entries


class _CopyId:
    def __init__(self, user: User, say: Callable[[Entry], None]) -> None:
        self.entries: list[Entry] = []
        self._user = user
        self._say = say
        self._dialer = Dialer()
        self._done: dict[_Way, Raw | HostError] = {}
        self._put: set[_Way] = set()

    def note(self, entry: Entry) -> None:
        self.entries.append(entry)
        self._say(entry)

    async def close(self) -> None:
        for outcome in reversed(self._done.values()):
            if not isinstance(outcome, HostError):
                outcome.close()
                await outcome.wait_closed()
        await self._dialer.close()

    async def try_by_key(self, host: Host) -> HostError | None:
        try:
            await (await SSHConnection.open(host, self._dialer)).close()
        except HostError as error:
            return error
        return None

    async def bring(self, host: Host) -> None:
        """A host, and the jump hosts on the way to it that were not dealt with yet."""
        target = route_of(host)
        tunnel: Raw | None = None
        way: _Way = ()
        for route in (*(jump_routes(target.host, target.jump) if target.jump else ()), target):
            way += ((route.user, route.hostname, route.port),)
            if way not in self._done:
                self._done[way] = await self._settle(route, tunnel, way)
                if route is not target and way in self._put:
                    self.note(Entry(host=host.name, where=_where(route), put=True))
            outcome = self._done[way]
            if isinstance(outcome, HostError):
                cause = outcome.cause
                if route is not target:
                    cause = f"by way of the jump host {route.target}: {cause}"
                error = type(outcome)(host.name, cause, outcome.remedy)
                self.note(Entry(host=host.name, where=_where(target), error=error))
                return
            tunnel = outcome
        self.note(Entry(host=host.name, where=_where(target), put=way in self._put))

    async def _settle(self, route: Route, tunnel: Raw | None, way: _Way) -> Raw | HostError:
        """One machine on a way: an open connection by key, or why there is none."""
        try:
            found = await introduced(
                lambda: self._by_key(route, tunnel), lambda outcome: new_keys([outcome]), self._user.accept
            )
            if not isinstance(found, AuthenticationFailed):
                return found
            key = await self._key(route)
            password = await self._user.password(_where(route)) if key is not None else ""
            if key is None or not password:
                return found
            await self._install(route, tunnel, password, key)
        except HostError as error:
            return error
        self._put.add(way)
        outcome = await self._by_key(route, tunnel)
        if isinstance(outcome, AuthenticationFailed):
            cause = (
                f"{key.source} is in ~/.ssh/authorized_keys of {_where(route)} now, and sshd refuses it all the same"
            )
            remedy = "Its log there says why: sudo journalctl -t sshd -n 20; or look at " + route.verbose
            return AuthenticationFailed(route.host, cause, remedy)
        return outcome

    async def _by_key(self, route: Route, tunnel: Raw | None) -> Raw | HostError:
        try:
            return (await self._dialer.open(route, tunnel))[0]
        except HostError as error:
            return error

    async def _key(self, route: Route) -> UserKey | None:
        """The user's key; a new one when there is none and the user wants that."""
        key = await own_key(route)
        if key is None and await self._user.create(DEFAULT):
            make_key(DEFAULT)
            key = await own_key(route)
        return key

    async def _install(self, route: Route, tunnel: Raw | None, password: str, key: UserKey) -> None:
        try:
            raw, watch = await self._dialer.open(route, tunnel, password)
        except NoPasswords as error:
            remedy = f"{error.remedy} This is the line for ~/.ssh/authorized_keys: {key.line}"
            raise NoPasswords(error.host, error.cause, remedy) from error
        connection = SSHConnection(Host(name=route.host, address=route.target), raw, watch)
        try:
            done = await connection.run(["sh", "-c", INSTALL], stdin=f"{key.line}\n".encode(), timeout_s=INSTALL_S)
        finally:
            await connection.close()
        if done.code != 0:
            said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.code}"]
            cause = f"the key could not be put into ~/.ssh/authorized_keys of {_where(route)}: {said[0]}"
            raise CommandFailed(route.host, cause, "Look at the home folder there: who owns it, and is the disk full?")


async def _missing_identities(hosts: Sequence[Host], user: User) -> None:
    """Keys that cluster.toml names and that are not there: made when the user wants that."""
    named = dict.fromkeys(host.identity for host in hosts if host.identity is not None)
    for path in filter(is_missing, named):
        if await user.create(path):
            make_key(path)


def _where(route: Route) -> str:
    return f"{route.user}@{route.target}{'' if route.port == 22 else f':{route.port}'}"


def _where_of(host: Host) -> str:
    try:
        return _where(route_of(host))
    except HostError:
        return ""

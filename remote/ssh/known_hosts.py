"""Which host keys are trusted: the known_hosts files of the user, read as ssh reads them, and one of our own.

`remote.ssh.dial` asks at each connection, and never accepts a key: what the user says yes to,
`remote.ssh.new_host_keys` writes into the one of our own. Only the name of the host counts, not the address it resolves
to: a key that is known for another machine at that address proves nothing. A line that can't be read is passed over, as
in ssh.

    >>> known = KnownHosts.read([Path("~/.ssh/known_hosts").expanduser()])
    >>> known.places("box1", 22)
    ('/home/ada/.ssh/known_hosts:3',)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from motley.remote.errors import NewKey

SSH_PORT = 22
ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
_Keys = Sequence[asyncssh.SSHKey]


@dataclass(frozen=True, slots=True)
class _Line:
    place: str  # "file:line"
    entry: asyncssh.SSHKnownHosts


class KnownHosts:
    """The readable lines of some known_hosts files."""

    def __init__(self, lines: Iterable[tuple[str, str]]) -> None:
        """`lines`: where each one stands, and its text."""
        self._all = asyncssh.SSHKnownHosts()
        self._lines: list[_Line] = []
        for place, text in lines:
            try:
                entry = asyncssh.import_known_hosts(text)
            except ValueError:
                continue
            self._all.load(text)
            self._lines.append(_Line(place, entry))

    @classmethod
    def read(cls, files: Iterable[Path]) -> KnownHosts:
        """A file that is not there or may not be read holds no keys."""
        lines: list[tuple[str, str]] = []
        for path in files:
            try:
                text = path.read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            lines += [(f"{path}:{number}", line) for number, line in enumerate(text.splitlines(), 1)]
        return cls(lines)

    @classmethod
    def only(cls, host: str, port: int, key: asyncssh.SSHKey) -> KnownHosts:
        """One key for one host: a demo host's."""
        return cls([("demo", _line(host, port, key))])

    def trusted(self, host: str, port: int | None) -> tuple[_Keys, _Keys, _Keys]:
        """Host keys, keys of certificate authorities and revoked keys, as asyncssh asks for them."""
        return self._all.match(host.lower(), "", port)[:3]

    def algorithms(self, host: str, port: int) -> list[str] | tuple[()]:
        """Those of the known keys first, then the others, so that a host with another kind of key shows it.

        () leaves the choice to asyncssh: no key is known, or an authority's.
        """
        keys, authorities, _ = self.trusted(host, None if port == SSH_PORT else port)
        if authorities or not keys:
            return ()
        known = [name.decode() for key in keys for name in key.sig_algorithms]
        return list(dict.fromkeys([*known, *ALGORITHMS]))

    def places(self, host: str, port: int) -> tuple[str, ...]:
        """Where a key for just this host and port stands."""
        name = listed(host.lower(), port)
        return tuple(line.place for line in self._lines if any(line.entry.match(name, "", None)[:2]))


def listed(host: str, port: int) -> str:
    """The name that known_hosts has for it."""
    return host if port == SSH_PORT else f"[{host}]:{port}"


def new_key(host: str, alias: str, port: int, key: asyncssh.SSHKey) -> NewKey:
    """`alias`: the name that known_hosts is to list the key by."""
    return NewKey(host=host, name=listed(alias, port), fingerprint=describe(key), line=_line(alias.lower(), port, key))


def _line(host: str, port: int, key: asyncssh.SSHKey) -> str:
    algorithm, data = key.export_public_key().decode().split()[:2]
    return f"{listed(host, port)} {algorithm} {data}"


def describe(key: asyncssh.SSHKey) -> str:
    """The fingerprint as ssh shows it, to compare with what the host's owner says."""
    return f"{key.get_fingerprint()} ({key.get_algorithm()})"

"""The user's own SSH key: the one to put on a new host, and a new one where there is none.

`remote.ssh.copy_id` asks for it for each host that refuses to let the user in.

    >>> (await own_key(route)).line
    'ssh-ed25519 AAAAC3… ada@desk'
"""

from __future__ import annotations

import base64
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from motley.remote.errors import AuthenticationFailed, HostError
from motley.remote.quoting import pasteable
from motley.remote.ssh.dial_errors import has_passphrase
from motley.remote.ssh.local_user import local_user
from motley.remote.ssh.route import Route

DEFAULT = "~/.ssh/id_ed25519"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserKey:
    line: str  # as authorized_keys has it
    source: str  # for messages


async def own_key(route: Route) -> UserKey | None:
    """The first key that a connection along the route can offer; None when the user has none at all.

    Raises AuthenticationFailed when there are some, and each has a passphrase and is not in the agent.
    """
    agent = await _agent_keys()
    for path in route.key_files:
        key = _public(path)
        if key is not None and (key.public_data in agent or not has_passphrase(path)):
            return UserKey(line=_line(key.public_data, key.get_algorithm(), _comment(key)), source=str(path))
    if agent and not route.only_identities:
        return UserKey(line=next(iter(agent.values())), source="the first key of the SSH agent")
    if route.key_files:
        path = route.key_files[0]
        cause = f"{path} has a passphrase and is not in the SSH agent, so it opens no connection"
        raise AuthenticationFailed(route.host, cause, f"{pasteable(['ssh-add', str(path)])} and try again.")
    return None


def is_missing(path: str) -> bool:
    return not Path(os.path.expanduser(path)).exists()


def make_key(name: str) -> None:
    """A new ed25519 key without a passphrase, and its `.pub`. Raises HostError; overwrites nothing."""
    path = Path(os.path.expanduser(name))
    key = asyncssh.generate_private_key("ssh-ed25519", comment=f"{local_user()}@{socket.gethostname()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file, mode, content in (
            (path, 0o600, key.export_private_key()),
            (path.with_name(path.name + ".pub"), 0o644, key.export_public_key()),
        ):
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as written:
                written.write(content)
    except OSError as error:
        cause = f"no key can be written to {path}: {error.strerror}"
        raise HostError("this machine", cause, "Make one yourself: ssh-keygen -t ed25519") from error


def _public(path: Path) -> asyncssh.SSHKey | None:
    for candidate in (path.with_name(path.name + ".pub"), path):
        try:
            return asyncssh.read_public_key(candidate)
        except (OSError, asyncssh.KeyImportError):
            continue
    try:
        return asyncssh.read_private_key(path)
    except (OSError, asyncssh.KeyImportError):
        return None


async def _agent_keys() -> dict[bytes, str]:
    """The lines of the keys that the agent holds, by their public data."""
    if not os.environ.get("SSH_AUTH_SOCK"):
        return {}
    try:
        agent = await asyncssh.connect_agent()
        try:
            keys = await agent.get_keys()
        finally:
            agent.close()
            await agent.wait_closed()
    except (OSError, ValueError, asyncssh.Error):
        return {}
    return {
        key.public_data: _line(key.public_data, key.algorithm.decode(), key.get_comment() or "")
        for key in keys
        if b"-cert-" not in key.algorithm
    }


def _line(data: bytes, algorithm: str, comment: str) -> str:
    return f"{algorithm} {base64.b64encode(data).decode()} {' '.join(comment.split())}".rstrip()


def _comment(key: asyncssh.SSHKey) -> str:
    return key.get_comment() or ""

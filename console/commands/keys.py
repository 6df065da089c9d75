"""`motley keys`: asks for what it needs in the terminal, and says for each host whether the user's key lets them in.

code = set_up(cluster, ["box1"])
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from motley.console.control import terminal_prompts
from motley.remote.config.cluster import Cluster
from motley.remote.errors import UsageError
from motley.remote.ssh.copy_id import Entry, User, let_in
from motley.remote.ssh.new_host_keys import nobody


def set_up(cluster: Cluster, names: Sequence[str]) -> int:
    """Returns the exit code: 3 when a host does not let the user in. Raises UsageError for a name it does not know."""
    known = {host.name: host for host in cluster.hosts}
    for name in names:
        if name not in known:
            raise UsageError(f"there is no host {name}; the hosts are {', '.join(known)}")
    hosts = [known[name] for name in dict.fromkeys(names or known)]
    entries = asyncio.run(let_in([h for h in hosts if h.way.needs_key], user(terminal_prompts.can_ask()), say))
    for host in hosts:
        if not host.way.needs_key:
            print(f"✔ {host.name}: {host.way.called} needs no key")
    return 3 if any(entry.error is not None for entry in entries) else 0


def user(there: bool) -> User:
    """Whoever sits at the terminal; without one every question is answered No."""
    if not there:
        return User(accept=nobody, password=_no_password, create=_no_key)
    return User(accept=terminal_prompts.known, password=_password, create=_create)


def say(entry: Entry) -> None:
    if entry.error is not None:
        print(f"✖ {entry.host}: {entry.error.cause}\n    {entry.error.remedy}", file=sys.stderr, flush=True)
    else:
        print(text(entry), flush=True)


def text(entry: Entry) -> str:
    """A line for a host that is in order.

    >>> text(Entry(host="box1", where="ada@192.168.0.7", put=True))
    '✔ box1: ada@192.168.0.7 has your key now, and lets you in by it'
    """
    return f"✔ {entry.host}: {entry.where} " + (
        "has your key now, and lets you in by it" if entry.put else "lets you in by key"
    )


async def _password(where: str) -> str:
    return await terminal_prompts.secret(f"Password of {where} (asked once, kept nowhere; empty leaves it out): ")


async def _create(path: str) -> bool:
    return await terminal_prompts.yes(f"You have no key. Make one without a passphrase, {path}?")


async def _no_password(_where: str) -> str:
    return ""


async def _no_key(_path: str) -> bool:
    return False

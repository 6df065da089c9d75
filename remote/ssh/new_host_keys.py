"""First contact: a host key that nobody knows is shown to the user, between two looks at the hosts.

No connection ever asks. It fails with a `NewKey`; whoever looked asks then (`console.control.questions.host_key`, on
the screen or in a plain terminal), and looks again when the answer was yes. Behind a jump host that is new there may be
another new one, so this goes on until nothing new shows. What is accepted goes into a known_hosts of our own, `OWN`,
which is read besides those of ssh.

    >>> found = await introduced(lambda: check(hosts, emit), new_keys, ask)
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

from motley.remote.errors import Finding, HostError, NewKey

OWN = "~/.motley/known_hosts"

Ask = Callable[[NewKey], Awaitable[bool]]
Found = TypeVar("Found")


async def nobody(_key: NewKey) -> bool:
    """Where no user can be asked, no key is accepted."""
    return False


async def introduced(
    look: Callable[[], Awaitable[Found]], new_keys: Callable[[Found], Iterable[NewKey]], ask: Ask
) -> Found:
    """What the last look found. Each key is asked about once; what is accepted is kept.

    Raises HostError when that can't be written.
    """
    asked: set[str] = set()
    while True:
        found = await look()
        fresh = {key.line: key for key in new_keys(found) if key.line not in asked}
        asked.update(fresh)
        accepted = [key for key in fresh.values() if await ask(key)]
        if not accepted:
            return found
        accept(accepted)


def new_keys(found: Iterable[object]) -> list[NewKey]:
    """Those among findings, or among the outcomes of connecting."""
    keys = [item.new_key for item in found if isinstance(item, (Finding, HostError))]
    return [key for key in keys if key is not None]


def accept(keys: Iterable[NewKey]) -> None:
    """Write keys into `OWN`, once each. Raises HostError when that can't be written."""
    path = Path(OWN).expanduser()
    for key in keys:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            before = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
            if key.line in before.splitlines():
                continue
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(file, f"{'' if before.endswith(chr(10)) or not before else chr(10)}{key.line}\n".encode())
            finally:
                os.close(file)
        except OSError as error:
            cause = f"its key can't be written into {path}: {error.strerror}"
            raise HostError(key.host, cause, "Make that file writable, then try again.") from error

"""What hosts keep of earlier runs, and removing what is old: `motley clean`.

>>> kept = await survey(verbs, ["box1", "box2"])
>>> old(kept["box1"], older_s=7 * DAY_S)
[Kept(kind='run', name='night', bytes=8123456, age_s=864000.0, used='')]
>>> await remove(verbs, "box1", _)
Removed(bytes=8123456, left=())
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Union

from motley.remote.answers import made, using
from motley.remote.errors import HostError
from motley.remote.rpc.verbs import Verbs

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """As `trainer.verbs.clean.Item`."""

    kind: str
    name: str
    bytes: int
    age_s: float
    used: str
    results: bool = False

    @classmethod
    def of(cls, table: dict[str, Any]) -> Kept:
        """Raises ValueError when it is none."""
        return made(cls, table)


@dataclass(frozen=True, slots=True)
class Removed:
    """`left`: what had to stay after all, each with its reason."""

    bytes: int
    left: tuple[str, ...]


def old(kept: Iterable[Kept], *, older_s: float) -> list[Kept]:
    """What nobody uses and nobody has changed for so long."""
    return [item for item in kept if not item.used and item.age_s >= older_s]


async def survey(verbs: Verbs, hosts: Iterable[str]) -> dict[str, Union[list[Kept], HostError]]:
    """What each host keeps, or why it does not say."""
    asked = list(hosts)
    return dict(zip(asked, await asyncio.gather(*(_ask(verbs, host) for host in asked)), strict=True))


async def remove(verbs: Verbs, host: str, items: Sequence[Kept]) -> Removed:
    """Raises a HostError."""
    answer = await verbs.clean(host, [(item.kind, item.name) for item in items])
    with using(host, "clean"):
        left = tuple(f"{kind} {name}: {why}" for kind, name, why in answer.get("kept", ()))
    return Removed(answer.whole("bytes"), left)


async def _ask(verbs: Verbs, host: str) -> list[Kept] | HostError:
    try:
        answer = await verbs.clean(host)
        with using(host, "clean"):
            return [Kept.of(table) for table in answer.tables("items")]
    except HostError as error:
        return error

"""Where the newest checkpoint of a run is, and bringing it to the leader of a run that goes on from it.

It may be on any host: rank 0 wrote it there, or a rank that lost its leader and held the state until it gave up. Or
only here, beside cluster.toml.

    >>> await bring_checkpoint(verbs, "box1", "night", hosts=["box1", "box2"], experiment=experiments / "night")
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remote.errors import HostError, UsageError
from remote.verbs import Verbs
from trainer import trailer
from trainer.trailer import Trailer


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint. `host` is empty for one that is here."""

    host: str
    name: str
    trailer: Trailer


async def bring_checkpoint(verbs: Verbs, leader: str, run: str, *, hosts: Iterable[str], experiment: Path) -> None:
    """See to it that the leader has the newest checkpoint of `run`.

    What is there of several is the ranks' to choose from: they pass over a damaged one. Raises UsageError when there
    is none anywhere, a HostError when the leader can't be given it.
    """
    asked = list(hosts)
    answers = await asyncio.gather(*(_ask(verbs, host, run) for host in asked))
    here = [Found("", name, said) for name, said in trailer.listed(experiment / "checkpoints").items()]
    best = newest([*here, *(one for answer in answers for one in answer)], leader)
    if best is None:
        places = ", ".join([*asked, str(experiment / "checkpoints")])
        raise UsageError(f"no checkpoint of {run} in any of: {places}")
    if best.host == leader:
        return
    content = (experiment / "checkpoints" / best.name).read_bytes() if not best.host else None
    if best.host:
        content = await verbs.fetch(best.host, run, f"checkpoints/{best.name}")
    if content is None or trailer.of(content) != best.trailer:
        where = best.host or "this machine"
        raise UsageError(f"{best.name} of {run} changed on {where} while it was read: try again")
    await verbs.store(leader, run, f"step_{best.trailer.step}.pt", content)


def newest(found: Iterable[Found], leader: str) -> Found | None:
    """The one of the highest step; where it is in several places, the leader's, then the one that is here."""
    return max(found, key=lambda one: (one.trailer.step, one.host == leader, not one.host), default=None)


async def _ask(verbs: Verbs, host: str, run: str) -> list[Found]:
    """What a host has of the run; nothing when it does not answer."""
    try:
        runs = await verbs.status(host)
    except HostError:
        return []
    known: Mapping[str, Any] = next((table for table in runs if table.get("run") == run), {})
    checkpoints = known.get("checkpoints")
    found = []
    for name, said in checkpoints.items() if isinstance(checkpoints, dict) else ():
        try:
            found.append(Found(host, str(name), Trailer(int(said["step"]), str(said["sha256"]))))
        except (KeyError, TypeError, ValueError):  # of another version
            continue
    return found

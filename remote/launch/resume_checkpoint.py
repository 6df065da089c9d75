"""Where the good checkpoint is that a run is to go on from, and bringing it to the host that leads the new run.

It is the newest of a run, one of its others by name (`remote.config.resume_from`), or a file here.

It may be on any host: rank 0 wrote it there, or a rank that lost its leader and held the state until it gave up. Or
only here, beside cluster.toml. Which one is newest, its last line says (`trainer.contract.checkpoint_trailer`); that is
believed when all of the file has been read and is as it was written. A damaged one is passed over, for the next newest
anywhere.

    >>> wanted = ResumeFrom("night", "best")
    >>> await bring_checkpoint(verbs, "box1", wanted, ["box1", "box2"], experiments / "night", logbook.note)
    'best.pt'
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motley.remote.answers import made
from motley.remote.config.resume_from import ResumeFrom
from motley.remote.errors import HostError, UsageError
from motley.remote.experiment.machines import recorded_machines
from motley.remote.hosts.this_machine import elsewhere, machine_id
from motley.remote.rpc.verbs import Verbs
from motley.trainer.contract import checkpoint_trailer
from motley.trainer.contract.checkpoint_trailer import Trailer
from motley.trainer.contract.wire import Event, WireError, decode


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint, and what it says of itself. `host` is empty for one that is here."""

    host: str
    name: str
    trailer: Trailer


async def bring_checkpoint(
    verbs: Verbs, leader: str, wanted: ResumeFrom, hosts: Iterable[str], experiment: Path, warn: Callable[[str], object]
) -> str:
    """See to it that the leader has the newest good checkpoint of a run that is `wanted`. Returns its name there.

    `warn` is told of every newer one that is damaged, and of hosts that do not answer. Raises UsageError when there is
    no good one anywhere, with those that there are; a HostError when one can't be fetched or the leader can't be given
    it.
    """
    run, asked = wanted.run, list(hosts)
    told = dict(zip(asked, await asyncio.gather(*(told_of(verbs, host, run, warn) for host in asked)), strict=True))
    for name in elsewhere(verbs.hosts.cluster, told, recorded_machines(experiment), machine_id()):
        warn(f"{name} was another machine in '{run}': what that one keeps is not looked at")
    answers = [listed_by(host, table) for host, table in told.items()]
    here = [Found("", name, said) for name, said in checkpoint_trailer.listed(experiment / "checkpoints").items()]
    known = newest_first([*here, *(one for answer in answers for one in answer)], leader)
    for found in known:
        if not wanted.fits(found.name, found.trailer):
            continue
        if found.host == leader:
            if await verbs.prove(leader, run, found.name) == found.trailer:
                return found.name
        else:
            content = await _content(verbs, run, found, experiment)
            if checkpoint_trailer.proved(io.BytesIO(content)) == found.trailer:
                await verbs.store(leader, run, _stored(found.trailer), content)
                return _stored(found.trailer)
        where = found.host or "this machine"
        which = f"{found.name} of '{run}' on {where}, of step {found.trailer.step},"
        warn(f"{which} is damaged, or changed while it was read: the next newest is looked at")
    places = ", ".join([*asked, str(experiment / "checkpoints")])
    if not wanted.checkpoint or not known:
        raise UsageError(f"no good checkpoint of '{run}' in any of: {places}")
    raise UsageError(f"'{run}' has no good checkpoint '{wanted.checkpoint}' in any of: {places}. {there_are(known)}")


async def was_session(verbs: Verbs, run: str, hosts: Iterable[str], experiment: Path) -> bool:
    """Whether a run was of a script that called `motley.session()`, by what its hosts or its experiment here know."""
    told = await asyncio.gather(*(told_of(verbs, host, run) for host in hosts))
    if any(isinstance(table.get("layout"), dict) and table["layout"].get("session") is True for table in told):
        return True
    with contextlib.suppress(OSError), (experiment / "events.jsonl").open("rb") as lines:
        for line in lines:
            with contextlib.suppress(WireError):
                if b"session" in line and isinstance(event := decode(line), Event) and event.kind == "session":
                    return True
    return False


def there_are(known: Iterable[Found]) -> str:
    """Those that can be named, the newest first.

    >>> there_are([Found("box1", "final.pt", Trailer(18, "")), Found("", "final.pt", Trailer(18, ""))])
    'There are: final (step 18)'
    """
    told = dict.fromkeys(f"{one.name.removesuffix('.pt')} (step {one.trailer.step:,})" for one in known)
    return f"There are: {', '.join(told)}"


async def bring_file(verbs: Verbs, leader: str, run: str, file: Path) -> str:
    """Give the host that leads `run`, which is about to start, a checkpoint's file that is here. Returns its name.

    Raises UsageError when it is damaged or too large to be carried, a HostError when the leader can't be given it.
    """
    content = await asyncio.to_thread(_read, file)
    proved = checkpoint_trailer.proved(io.BytesIO(content))
    if proved is None:
        raise UsageError(f"--resume {file}: is damaged: it has changed since it was written (its SHA-256 differs)")
    await verbs.store(leader, run, _stored(proved), content)
    return _stored(proved)


def _read(file: Path) -> bytes:
    try:
        size = file.stat().st_size
        if size <= _most():
            return file.read_bytes()
    except OSError as error:
        raise UsageError(f"--resume {file}: can't be read ({error.strerror or error})") from error
    raise UsageError(f"--resume {file}: its {size:,} bytes are more than half of this machine's memory")


def _stored(trailer: Trailer) -> str:
    return f"step_{trailer.step}.pt"


def newest_first(found: Iterable[Found], leader: str) -> list[Found]:
    """Of copies that are as new the leader's comes first, then the one that is here."""
    return sorted(found, key=lambda one: (one.trailer.age, one.host == leader, not one.host), reverse=True)


async def _content(verbs: Verbs, run: str, found: Found, experiment: Path) -> bytes:
    """Empty when the file is gone by now."""
    if found.host:
        return await verbs.fetch(found.host, run, f"checkpoints/{found.name}", most=_most()) or b""
    try:
        return (experiment / "checkpoints" / found.name).read_bytes()
    except OSError:
        return b""


def _most() -> int:
    """Bytes of a checkpoint that is carried from host to host through the memory here: half of it."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


async def told_of(
    verbs: Verbs, host: str, run: str, warn: Callable[[str], object] = lambda _: None
) -> Mapping[str, Any]:
    """What a host tells of a run; nothing where it does not know it, or does not answer, which `warn` is told."""
    try:
        runs = await verbs.status(host)
    except HostError as error:
        warn(f"{host} does not answer ({error.cause}): what it has of '{run}' is not looked at")
        return {}
    return next((table for table in runs if table.get("run") == run), {})


def listed_by(host: str, told: Mapping[str, Any]) -> list[Found]:
    """The checkpoints in what a host tells of a run (`trainer.verbs.status`)."""
    checkpoints = told.get("checkpoints")
    found = []
    for name, said in checkpoints.items() if isinstance(checkpoints, dict) else ():
        try:
            found.append(Found(host, str(name), made(Trailer, said)))
        except (AttributeError, KeyError, TypeError, ValueError):  # of another version
            continue
    return found

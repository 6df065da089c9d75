"""`[environment] runtime`: hosts whose ranks run in containers. Their image is brought there before a run starts.

It is there already, or the host pulls it from its registry, builds it by a Dockerfile, or is sent the one of this
machine. Then it is looked into: what counts is the torch in the image, not that of the host. `motley check` only looks.
From then on `Hosts` knows the image, and the host's spec names it; what of a run is not a rank stays outside.

    >>> await prepare(hosts, emit)
    {'box1': CommandFailed('box1', 'the user may not use docker', 'Put the user into its group, …')}
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trainer.bootstrap
from remote.bootstrap_call import conversation, no_python
from remote.cluster import Cluster
from remote.connection import Connection
from remote.container_troubles import too_old, trouble
from remote.container_wanted import Wanted, read
from remote.errors import CommandFailed, Finding, HostError
from remote.feed import Progress
from remote.hosts import Emit, Hosts, python_of
from remote.image_transfer import of_this_machine, send
from remote.inside import Inside
from remote.remedy import motley
from remote.sanitize import clean
from remote.shell import pasteable, there
from trainer.spec import Container

LOOK_S = 75.0  # for a host to say what it has; that asks docker several times, each within a bound of its own
SILENT_S = 1800.0  # without a word, while it pulls or builds: a layer of some GB may be one line
END_S = 10.0  # from its last word to its end
OLDEST_PYTHON = (3, 10)
PROGRAM = Path(next(iter(trainer.bootstrap.__path__))) / "inside.py"


@dataclass(frozen=True, slots=True)
class Looked:
    """`without`: hosts that don't have their image yet, or not this machine's. `failed`: those that can't have one."""

    without: list[str] = field(default_factory=list)
    failed: dict[str, HostError] = field(default_factory=dict)


async def prepare(hosts: Hosts, emit: Emit, names: Iterable[str] | None = None) -> dict[str, HostError]:
    """Have the images brought that are not there yet, to all hosts or to those named.

    Returns the hosts where that failed; those that can't be reached are left out: whoever looks at them next says so.
    Raises ConfigError for a Dockerfile that can't be read.
    """
    return (await _all(hosts, emit, names, get=True)).failed


async def look(hosts: Hosts, emit: Emit) -> Looked:
    """Look at the images that are there, and bring none. Raises as `prepare` does."""
    return await _all(hosts, emit, None, get=False)


def findings(failed: Mapping[str, HostError]) -> list[Finding]:
    return [Finding(name, "container", "error", error.cause, error.remedy) for name, error in failed.items()]


def judged(cluster: Cluster, found: Collection[Finding], looked: Looked) -> tuple[Finding, ...]:
    """The findings of a look at hosts, with those of their images; what an image may bring is not missed before."""
    unknown = {*looked.without, *looked.failed}
    kept = [f for f in found if f.host not in unknown or f.check not in ("torch", "devices", "driver")]
    words = "its image is not there yet; whether torch is in it is not known"
    remedy = f"It is brought before a run starts: {motley(cluster, 'run')}"
    kept += [Finding(name, "container", "warning", words, remedy) for name in looked.without]
    kept += findings(looked.failed)
    order = {host.name: place for place, host in enumerate(cluster.hosts)}
    return tuple(sorted(kept, key=lambda finding: (order[finding.host], finding.level)))


async def _all(hosts: Hosts, emit: Emit, names: Iterable[str] | None, *, get: bool) -> Looked:
    known = list(hosts.cluster.hosts) if names is None else [hosts.named(name) for name in names]
    wanted = await asyncio.to_thread(read, hosts.cluster, known)
    outcomes = await asyncio.gather(*(_one(hosts, name, wanted[name], emit, get=get) for name in wanted))
    looked = Looked()
    for name, outcome in zip(wanted, outcomes, strict=True):
        if isinstance(outcome, HostError):
            looked.failed[name] = outcome
        elif outcome is False:
            looked.without.append(name)
    return looked


async def _one(hosts: Hosts, name: str, wanted: Wanted, emit: Emit, *, get: bool) -> bool | HostError | None:
    """Whether the host has it now; None when it can't be reached."""
    try:
        connection = await hosts.get(name)
    except HostError:
        return None
    try:
        told = await _bring(connection, python_of(hosts.named(name)), wanted, emit, get=get)
        if not told["id"]:
            return False
        inside = _inside(connection, wanted, told)
    except HostError as error:
        emit(Progress(host=name, stage="packages", text=error.cause, done=True, failed=True))
        return error
    hosts.look_into(name, inside)
    text = f"has {wanted.shown}: Python {inside.python}, torch {inside.torch or 'missing'}"
    emit(Progress(host=name, stage="packages", text=text, fraction=1.0, done=True))
    return True


async def _bring(connection: Connection, python: str, wanted: Wanted, emit: Emit, *, get: bool) -> dict[str, Any]:
    """What the host says of the image. Its `id` is empty when it has none, or another one than this machine."""
    host = connection.host
    told = await _ask(connection, python, wanted, emit, get=False)
    if wanted.from_master:
        mine = await of_this_machine(host.name, wanted.runtime, wanted.name)
        if told.get("content") == mine.content:
            return told
        if not get:
            return {"id": ""}
        await send(connection, wanted.runtime, wanted.name, mine, emit)
        told = await _ask(connection, python, wanted, emit, get=False)
        if told.get("content") != mine.content:
            cause = f"{wanted.shown} was sent there, and {wanted.runtime} there has another one by that name"
            look_ = there(host, pasteable([wanted.runtime, "image", "ls"]))
            raise CommandFailed(host.name, cause, f"See what it has, and whether its disk is full: {look_}")
    elif get and not told["id"]:
        told = await _ask(connection, python, wanted, emit, get=True)
    return told


def _inside(connection: Connection, wanted: Wanted, told: Mapping[str, Any]) -> Inside:
    """Raises CommandFailed when its Python is too old."""
    python = clean(str(told.get("python")))
    if tuple(map(int, re.findall(r"\d+", python)[:2])) < OLDEST_PYTHON:
        raise CommandFailed(connection.host.name, *too_old(wanted, python))
    if wanted.runtime == "podman" and not told.get("lingers"):
        user = connection.host.user or "$USER"
        linger = there(connection.host, f"sudo loginctl enable-linger {user}")
        cause = "podman's containers end there when the user logs out: a run would end with the console"
        raise CommandFailed(connection.host.name, cause, f"Let them stay: {linger}")
    return Inside(
        container=Container(
            runtime=wanted.runtime, image=clean(wanted.image or wanted.name), id=clean(str(told["id"])),
            rootless=told.get("rootless") is True,
        ),
        python=python, torch=clean(str(told.get("torch") or "")), torch_cuda=clean(str(told.get("torch_cuda") or "")),
    )  # fmt: skip


async def _ask(connection: Connection, python: str, wanted: Wanted, emit: Emit, *, get: bool) -> dict[str, Any]:
    """The answer of the host. Raises a HostError with what did not work."""
    host = connection.host
    request = wanted.request(PROGRAM.read_text("utf-8"), get=get)
    within_s = SILENT_S if get else LOOK_S
    async with conversation(connection, python, "image") as (process, answers):
        await process.write(json.dumps(request).encode() + b"\n")
        told: dict[str, Any] | None = {"note": ""}
        while told is not None and "note" in told:
            if told["note"]:
                emit(Progress(host=host.name, stage="packages", text=clean(str(told["note"]))))
            try:
                told = await asyncio.wait_for(anext(answers, None), within_s)
            except asyncio.TimeoutError as error:
                cause = f"{wanted.runtime} said nothing for {within_s:g} s"
                info = there(host, pasteable([wanted.runtime, "info"]))
                raise CommandFailed(host.name, cause, f"See whether it works: {info}") from error
        if told is None:
            if await asyncio.wait_for(process.wait(), END_S) == 127:
                raise CommandFailed(host.name, *no_python(host, python))
            said = process.stderr_tail.splitlines()[-1:] or ["nothing"]
            raise CommandFailed(
                host.name, f"{python} did not look at {wanted.shown} and said: {said[0]}", "Report this."
            )
    if told.get("ok") is not True:
        said = [str(line) for line in told.get("said") or ()]
        for line in said:
            emit(Progress(host=host.name, stage="packages", text=clean(line), failed=True))
        raise CommandFailed(
            host.name, *trouble(host, wanted, str(told.get("stage")), int(told.get("code") or 0), said)
        )  # fmt: skip
    return {**told, "id": told.get("id") or ""}

"""The packages that ranks need, on every host: what is the same for virtual environments and for images of containers.

`remote.provision.virtualenv` and `remote.provision.container_images` have them made and brought, or only look for them;
`remote.launch.prepare_hosts` puts into the check what both have found.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from motley.remote.answers import Answer
from motley.remote.config.cluster import Cluster, Host
from motley.remote.errors import CommandFailed, Finding, HostError
from motley.remote.feed import Progress
from motley.remote.hosts.pool import Emit, Hosts
from motley.remote.hosts.reach import Connection
from motley.remote.provision.bootstrap import conversation, no_python
from motley.remote.ssh.shell import motley

SAID = 200  # lines of what did not work, for the log
END_S = 10.0  # from the last word of a program to its end

Remedy = tuple[str, str]  # what is wrong, and the next step


@dataclass(frozen=True, slots=True)
class Kind:
    """The name of its check, and two words for a host that has none yet: `its image is not there yet`, `brought`."""

    check: str
    lacks: str
    comes: str


@dataclass(frozen=True, slots=True)
class Looked:
    """`without`: hosts that don't have it yet. `failed`: those that can't have it."""

    kind: Kind
    without: list[str] = field(default_factory=list)
    failed: dict[str, HostError] = field(default_factory=dict)


def named(hosts: Hosts, names: Iterable[str] | None) -> list[Host]:
    """Those hosts, or all."""
    return list(hosts.cluster.hosts) if names is None else [hosts.named(name) for name in names]


async def on_each(
    hosts: Hosts, kind: Kind, names: Collection[str], emit: Emit, have: Callable[[str, Connection], Awaitable[str]]
) -> Looked:
    """`have` says in words what the host has now, empty when it has not; a HostError that it raises is that host's.

    Hosts that can't be reached are left out: whoever looks at them next says so.
    """

    async def one(name: str) -> bool | HostError | None:
        try:
            connection = await hosts.get(name)
        except HostError:
            return None
        try:
            text = await have(name, connection)
        except HostError as error:
            emit(Progress(host=name, stage="packages", text=error.cause, done=True, failed=True))
            return error
        if text:
            emit(Progress(host=name, stage="packages", text=text, fraction=1.0, done=True))
        return bool(text)

    looked = Looked(kind)
    for name, outcome in zip(names, await asyncio.gather(*map(one, names)), strict=True):
        if isinstance(outcome, HostError):
            looked.failed[name] = outcome
        elif outcome is False:
            looked.without.append(name)
    return looked


async def ask(
    connection: Connection,
    python: str,
    program: Literal["virtualenv", "container_image"],
    request: Mapping[str, Any],
    emit: Emit,
    *,
    within_s: float,
    silent: Remedy,
    ended: Callable[[str], Remedy],
) -> Answer:
    """The answer of a program on the host; what it notes meanwhile is emitted, each note within so many seconds.

    Raises CommandFailed: `silent` when nothing comes, `ended`, of the program's last words, when it gave no answer.
    """
    host = connection.host
    async with conversation(connection, python, program) as (process, answers):
        await process.write(json.dumps(request).encode() + b"\n")
        try:
            told = await answers.after_notes(
                within_s, lambda note: emit(Progress(host=host.name, stage="packages", text=note))
            )
        except asyncio.TimeoutError as error:
            raise CommandFailed(host.name, *silent) from error
        if told is None:
            if await asyncio.wait_for(process.wait(), END_S) == 127:
                raise CommandFailed(host.name, *no_python(host, python))
            raise CommandFailed(host.name, *ended((process.stderr_tail.splitlines()[-1:] or ["nothing"])[0]))
    return told


def to_log(host: str, told: Answer, emit: Emit) -> list[str]:
    """The last lines of what did not work, which go to the log."""
    said = told.texts("said")[-SAID:]
    for line in said:
        emit(Progress(host=host, stage="packages", text=line, failed=True))
    return said


def findings(kind: Kind, failed: Mapping[str, HostError]) -> list[Finding]:
    return [Finding(name, kind.check, "error", error.cause, error.remedy) for name, error in failed.items()]


def judged(cluster: Cluster, found: Iterable[Finding], looks: Iterable[Looked]) -> tuple[Finding, ...]:
    """The findings of a look at hosts, with those of their packages; what these may bring is not missed before."""
    kept = list(found)
    for looked in looks:
        unknown, kind = {*looked.without, *looked.failed}, looked.kind
        kept = [
            f
            for f in kept
            if f.host not in unknown or f.check not in ("torch", "pillow", "libraries", "devices", "driver")
        ]
        words = f"{kind.lacks}; whether torch is in it is not known"
        remedy = f"It is {kind.comes} before a run starts: {motley(cluster, 'run')}"
        kept += [Finding(name, kind.check, "warning", words, remedy) for name in looked.without]
        kept += findings(kind, looked.failed)
    order = {host.name: place for place, host in enumerate(cluster.hosts)}
    return tuple(sorted(kept, key=lambda finding: (order[finding.host], finding.level)))

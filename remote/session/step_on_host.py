"""One step of a run computed again on a host of its cluster: `motley verify --on HOST`. Nothing of this imports torch.

The host takes the checkpoint that it has itself, as the run wrote it; else it is sent the one that is here, or that
another host has, for as long as it takes. A host that took part in the run has its data and its Python still
(`trainer.verbs.verify`).

    >>> await step_on_host(cluster, "night", "box1", asked, experiment, given=lambda: path, say=print)
    Computed(checkpoint='epoch_1.pt', answer={'loss': 0.2384, …})
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from motley.remote.answers import using
from motley.remote.config.cluster import Cluster
from motley.remote.errors import CommandFailed, HostError, UsageError
from motley.remote.experiment.machines import recorded_machines
from motley.remote.feed import Progress
from motley.remote.hosts.pool import Hosts
from motley.remote.hosts.reach import RemoteProcess
from motley.remote.hosts.this_machine import elsewhere, machine_id
from motley.remote.launch.prepare_hosts import lent_for
from motley.remote.launch.trainer_conversation import no_answer, remedy_of, said, trainer, within
from motley.remote.placement.placement import placement_of, starts_runs
from motley.remote.provision.push_code import Tree
from motley.remote.rpc.verbs import Verbs
from motley.remote.ssh.new_host_keys import Ask, introduced, new_keys, nobody

SILENT_S = 960.0  # without a word of the host; its own bound is a little less
PART = 1 << 18
VERB = "verify"

Say = Callable[[str], object]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """`checkpoint`: the name of the file; None before the first step. `answer`: of `trainer.verify.recomputed_step`."""

    checkpoint: str | None
    answer: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A checkpoint that is here, as the run wrote it."""

    path: Path
    sha256: str


async def step_on_host(
    cluster: Cluster,
    run: str,
    host: str,
    asked: Mapping[str, Any],
    experiment: Path,
    *,
    given: Callable[[], Given],
    say: Say,
    ask: Ask = nobody,
    tree: Tree | None = None,
) -> Computed:
    """`asked` as `trainer.verbs.verify` takes it. `given` is called where the host has no checkpoint that would do, and
    raises UsageError where none is here either.

    Raises UsageError for a host that there is not, HostError where it does not answer or can't compute the step.
    """
    if host not in {one.name for one in cluster.hosts}:
        raise UsageError(f"there is no host {host}; the hosts are {', '.join(one.name for one in cluster.hosts)}")
    async with _there(cluster, run, host, say) as cluster, Hosts(cluster) as hosts:
        verbs = Verbs(hosts, tree or Tree.installed())

        async def look() -> list[dict[str, Any] | HostError]:
            try:
                runs = await verbs.status(host)
            except HostError as error:
                return [error]
            return [next((table for table in runs if table.get("run") == run), {})]

        (told,) = await introduced(look, new_keys, ask)
        known = {} if isinstance(told, HostError) else {host: told}
        if host in elsewhere(cluster, known, recorded_machines(experiment), machine_id()):
            await verbs.send_away(host)
        elif isinstance(told, HostError):
            raise told
        others = sorted((one.name for one in hosts.cluster.hosts if one.name != host), key=_leader_first(cluster, told))

        async def brought(room: Path) -> Given:
            try:
                return await asyncio.to_thread(given)
            except UsageError as error:
                return await _from_another(verbs, run, others, asked["checkpoints"], room, error, say)

        async with trainer(verbs, host, VERB, "--run", run, "--host", host) as process:
            return await _conversation(process, host, asked, brought, say)


async def _conversation(
    process: RemoteProcess,
    host: str,
    asked: Mapping[str, Any],
    brought: Callable[[Path], Awaitable[Given]],
    say: Say,
) -> Computed:
    await process.write(json.dumps(asked).encode() + b"\n")
    lines, checkpoint = process.lines(), None
    while True:
        try:
            line = await within(SILENT_S, lines.__anext__(), host, "computing the step")
        except StopAsyncIteration:
            raise await no_answer(host, process, "the step could not be computed", "Report this.") from None
        table = said(host, VERB, line)
        if "error" in table:
            raise CommandFailed(host, table.text("error"), remedy_of(table))
        if "result" in table:
            with using(host, VERB):
                answer = table["result"]
                if not isinstance(answer, dict):
                    raise TypeError("result is no table")
                if not all(isinstance(answer.get(name), list) for name in ("norms", "projections")):
                    raise TypeError("norms or projections are no list")
                return Computed(checkpoint=checkpoint, answer=answer)
        if "have" in table:
            checkpoint = table.text("have") or None
            with using(host, VERB):
                if checkpoint not in (None, *(name for name, _ in asked["checkpoints"])):
                    raise ValueError(f"have is {checkpoint}, which nobody has asked for")
            if asked["checkpoints"] and checkpoint is None:
                with tempfile.TemporaryDirectory() as room:
                    checkpoint = await _send(process, host, await brought(Path(room)), say)
        elif "note" in table:
            say(f"{host}: {table['note']}")


def _leader_first(cluster: Cluster, told: Mapping[str, Any] | HostError) -> Callable[[str], bool]:
    """As a key to sort by: the host that led the run keeps its checkpoints."""
    leader = cluster.leader if isinstance(told, HostError) else str(told.get("leader") or cluster.leader)
    return lambda name: name != leader


async def _from_another(
    verbs: Verbs,
    run: str,
    others: Sequence[str],
    wanted: Sequence[Sequence[str]],
    room: Path,
    here: UsageError,
    say: Say,
) -> Given:
    """A checkpoint that is not `here` either, from the first host that has it as the run wrote it. Raises
    UsageError."""
    silent = []
    for other in others:
        try:
            for name, sha256 in wanted:
                path = room / name
                say(f"{other}: looking for {name}")
                with path.open("wb") as file:
                    there = await verbs.fetch_to(file.write, other, run, f"checkpoints/{name}", most=sys.maxsize)
                if there and await asyncio.to_thread(_sha256, path) == sha256:
                    return Given(path=path, sha256=sha256)
        except HostError:
            silent.append(other)
    unasked = f" ({', '.join(silent)} did not answer)" if silent else ""
    raise UsageError(f"no host has the checkpoint as the run wrote it{unasked}; and {here}")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(PART):
            digest.update(part)
    return digest.hexdigest()


async def _send(process: RemoteProcess, host: str, one: Given, say: Say) -> str:
    """The name of the checkpoint that the host has now. Raises HostError."""
    size = one.path.stat().st_size
    say(f"{host}: {one.path.name} is sent there for the while, {size / 1e6:.1f} MB")
    head = {"name": one.path.name, "sha256": one.sha256, "bytes": size}
    await process.write(json.dumps(head).encode() + b"\n")
    with one.path.open("rb") as file:
        while part := file.read(PART):
            await within(SILENT_S, process.write(part), host, f"taking {one.path.name}")
    return one.path.name


@asynccontextmanager
async def _there(cluster: Cluster, run: str, host: str, say: Say) -> AsyncIterator[Cluster]:
    """The cluster with a host that can be connected to. Nodes of a job are there as long as a run is: when that is
    over, one is asked for once more, in a short job. Raises UsageError where hosts start runs by themselves, and are
    gone."""
    found: Cluster | None = None
    try:
        found = await placement_of(cluster, run).found(say)
    except UsageError:
        if starts_runs(cluster):
            raise
    if found is not None and any(one.name == host for one in found.hosts):  # the run may be on others alone
        yield found
        return

    def told(record: Progress) -> None:
        say(record.text)

    hosts = tuple(one for one in cluster.hosts if one.name == host)
    alone = dataclasses.replace(cluster, hosts=hosts, leader=host)
    async with lent_for(VERB, alone, told) as there:
        yield there

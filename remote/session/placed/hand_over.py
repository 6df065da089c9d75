"""A run in a job that Slurm has started once more, on nodes whose homes lack a part of it: these get it from here.

What is there goes on by itself (`trainer.requeue`). A node that has nothing of the run is checked, and gets our code,
the user's, and the spec of its host; the one that leads also the newest checkpoint that is known: it came home, or lies
on another node of the job. Where the leader's node has begun from an older one, left by an earlier start of the job,
all begin once more from the newest.

    >>> over = HandOver(verbs, "night", folder, knows=knows, emit=emit, note=note)
    >>> await over.look(begun=True)
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from motley.remote.config.cluster import Cluster
from motley.remote.config.resume_from import ResumeFrom
from motley.remote.errors import CheckFailed, HostError, RunFailed, StartRefused, UsageError
from motley.remote.launch.all_hosts import Emit, having, push_all, stop_all
from motley.remote.launch.placement import Knows, joining_spec, place
from motley.remote.launch.prepare_hosts import equipped
from motley.remote.launch.resume_checkpoint import bring_checkpoint, listed_by, told_of
from motley.remote.preflight.check import check
from motley.remote.preflight.probe import Probe
from motley.remote.provision.data import placed
from motley.remote.provision.project import project_of
from motley.remote.quoting import pasteable
from motley.remote.rpc.verbs import SUPERVISE_S, Verbs, answered
from motley.remote.session.join_host import numbered
from motley.remote.session.own_run import check_same, own_run
from motley.trainer.contract import checkpoint_trailer
from motley.trainer.contract.checkpoint_trailer import Trailer
from motley.trainer.contract.run_changes import Lead
from motley.trainer.contract.spec import Member, Spec
from motley.trainer.contract.term import FIRST, Term

KEEPERS_S = 15.0  # for the leader's node to take up what it has
ASK_S = 0.5
STOP_S = 60.0
Age = tuple[int, int]  # of a checkpoint: `Trailer.age`
NEVER: Age = (-1, -1)
BEGAN = "requeued.json"  # `trainer.requeue.requeued`


def restarts_of(cluster: Cluster) -> int:
    """How often the job of these hosts was started once more; 0 where they are no nodes of one."""
    return max((host.slurm.restarts for host in cluster.hosts if host.slurm is not None), default=0)


async def _kept() -> None:
    """Nodes are not given back: the run begins once more on them."""


class HandOver:
    """`folder`: the run's experiment here."""

    def __init__(
        self,
        verbs: Verbs,
        run: str,
        folder: Path,
        *,
        knows: Knows,
        emit: Emit,
        note: Callable[..., object],
    ) -> None:
        self._verbs, self._run, self._folder = verbs, run, folder
        self._knows, self._emit, self._note = knows, emit, note

    async def look(self, *, begun: bool) -> None:
        """`begun`: the job has started just now. Raises RunFailed where the run can't be handed over, and what to do
        then."""
        cluster = self._verbs.hosts.cluster
        there = [host.name for host in cluster.hosts if host.slurm is not None and host.slurm.node]
        if not restarts_of(cluster) or cluster.leader not in there:
            return
        try:
            have = await having(self._verbs, self._run, there)
            lacking = [name for name in there if name not in have]
            behind = begun and cluster.leader in have and await self._is_behind(cluster.leader, have)
            if lacking or behind:
                await self._hand_over(have, lacking, behind=behind)
        except (CheckFailed, HostError, UsageError, ValueError) as error:
            text = f"'{self._run}' was requeued by Slurm, and can't go on there: {error}"
            resume = pasteable(["motley", "run", "--resume", self._run])
            again = f"`{resume}` goes on from the newest checkpoint that came home"
            raise RunFailed(f"{text}\n  {again}") from error

    async def _is_behind(self, leader: str, have: Sequence[str]) -> bool:
        """Whether the leader's node has begun from a checkpoint older than one that is here, or on another node."""
        restarts, loop = restarts_of(self._verbs.hosts.cluster), asyncio.get_running_loop()
        ends = loop.time() + KEEPERS_S
        while (began := began_from(await self._verbs.fetch(leader, self._run, BEGAN), restarts)) is None:
            if loop.time() > ends:
                return False  # it is over there
            await asyncio.sleep(ASK_S)
        told = await asyncio.gather(*(told_of(self._verbs, host, self._run) for host in have))
        known = list(checkpoint_trailer.listed(self._folder / "checkpoints").values())
        known += [one.trailer for host, table in zip(have, told, strict=True) for one in listed_by(host, table)]
        return newest_before(known, restarts) > began

    async def _hand_over(self, have: list[str], lacking: list[str], *, behind: bool) -> None:
        hosts, run = self._verbs.hosts, self._run
        leader = hosts.cluster.leader
        if lacking:
            self._note(f"{', '.join(lacking)}: these nodes have nothing of '{run}', which is brought there", "warning")
        specs = await self._specs(have, lacking) if lacking else []
        checkpoint = ""
        if behind or leader in lacking:
            if behind:
                why = "a newer checkpoint is known than that on the leader's node"
                self._note(f"{why}: '{run}' begins once more from it", "warning")
                await stop_all(self._verbs, run, have, self._emit, _kept, reason=why, bound_s=STOP_S)
            checkpoint = await self._checkpoint(leader, [*have] if not behind else [])
        again = [name for name in have if behind]
        first = sorted([*(spec.host for spec in specs), *again], key=lambda name: name != leader)
        given = {spec.host: spec for spec in specs}
        for name in first:
            await self._take_up(name, given.get(name), checkpoint if name == leader else "")

    async def _checkpoint(self, leader: str, hosts: Sequence[str]) -> str:
        """The newest one, brought to the leader; empty where none was ever written."""
        here = checkpoint_trailer.listed(self._folder / "checkpoints")
        told = await asyncio.gather(*(told_of(self._verbs, host, self._run) for host in hosts))
        if not here and not any(listed_by(host, table) for host, table in zip(hosts, told, strict=True)):
            return ""
        wanted = ResumeFrom(self._run)
        return await bring_checkpoint(
            self._verbs, leader, wanted, hosts, self._folder, lambda text: self._note(text, "warning")
        )

    async def _specs(self, have: Sequence[str], lacking: Sequence[str]) -> list[Spec]:
        """Of the hosts that have none: what they execute comes from this machine, who takes part from the others."""
        hosts = self._verbs.hosts
        cluster = hosts.cluster
        own = own_run(cluster, self._folder)
        project, user_code = await asyncio.to_thread(project_of, own)
        data = None
        for name in lacking:
            _, data = await equipped(hosts, name, self._emit)
        theirs = await self._verbs.spec(have[0], self._run) if have else None
        if theirs is not None:
            check_same(own, theirs, user_code=user_code, folder=data)
        part = dataclasses.replace(
            cluster, hosts=tuple(host for host in cluster.hosts if host.name in {cluster.leader, *lacking})
        )
        checked = await check(hosts, self._emit, part, joins=self._run)
        if errors := [one for one in checked.findings if one.level == "error" and one.host in lacking]:
            raise CheckFailed(errors)
        probes = {name: checked.probes[name] for name in lacking}
        if unable := await push_all(self._verbs, probes, self._emit, project):
            raise CheckFailed(unable)
        members = self._members(theirs, own, lacking, probes)
        address = hosts.named(cluster.leader).address
        port = theirs.port if theirs is not None else own.coordinator_port
        lead = Lead(term=FIRST, leader=cluster.leader, address=address, port=port, hosts=())
        token = theirs.token if theirs is not None else secrets.token_hex(32)
        return [
            joining_spec(
                placed(own, data), self._run, hosts.named(name), members, lead, token=token, user_code=user_code,
                python=probes[name].executable, container=hosts.container(name),
            )
            for name in lacking
        ]  # fmt: skip

    def _members(
        self, theirs: Spec | None, own: Cluster, lacking: Sequence[str], probes: dict[str, Probe]
    ) -> tuple[Member, ...]:
        """Raises ValueError where a node has other devices than the one before it, UsageError where nobody knows."""
        if theirs is None and {host.name for host in own.hosts} != set(lacking):
            raise UsageError("no node of the job has any of it")
        if theirs is None:
            return place(own, probes, self._knows)
        members = theirs.members
        for host in own.hosts:
            if host.name in lacking:
                alone = dataclasses.replace(own, leader=host.name, hosts=(host,))
                members = numbered(members, host.name, place(alone, probes, self._knows))
        return members

    async def _take_up(self, host: str, spec: Spec | None, checkpoint: str) -> None:
        cluster = self._verbs.hosts.cluster
        words = ["--leader", cluster.leader, "--address", self._verbs.hosts.named(cluster.leader).address]
        words += ["--restarts", str(restarts_of(cluster)), *(["--given"] if spec is not None else [])]
        words += ["--checkpoint", checkpoint] if checkpoint else []
        argv = self._verbs.argv(host, "requeued", "--run", self._run, "--host", host, *words)
        connection = await self._verbs.connection(host)
        stdin: dict[str, Any] = {"stdin": spec.to_json().encode()} if spec is not None else {}
        result = await connection.run(argv, timeout_s=SUPERVISE_S, cwd=self._verbs.tree.folder, **stdin)
        answer = answered(host, "requeued", result, "take the run up")
        if not answer.ok:
            raise StartRefused(host, answer.text("error"), "Nothing was started on this host.")


def began_from(content: bytes | None, restarts: int) -> Age | None:
    """What the leader's node notes as it takes the run up; None before it has done so in this start of the job.

    >>> began_from(b'{"restarts": 2, "age": [1000, 30]}', 2), began_from(b'{"restarts": 1, "age": [0, 18]}', 2)
    ((1000, 30), None)
    """
    try:
        table = json.loads(content or b"")
        return (int(table["age"][0]), int(table["age"][1])) if table["restarts"] == restarts else None
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def newest_before(found: Sequence[Trailer], restarts: int) -> Age:
    """Of those that were written before this start of the job.

    >>> newest_before([Trailer(18, ""), Trailer(30, "", 1000)], 1)
    (0, 18)
    """
    return max((one.age for one in found if one.line < Term.of_job(restarts).named), default=NEVER)

"""A run in a job that Slurm has started once more, on nodes whose homes lack a part of it: these get it from here.

What is there goes on by itself (`trainer.requeue`). A node that has nothing of the run is checked, and gets our code,
the user's, and the spec of its host; the one that leads also the newest checkpoint that is known: it came home, or lies
on another node of the job; before the run's first one, that of another run which it began with. Where the leader's
node has begun from an older one, left by an earlier start of the job, all begin once more from the newest. The run goes
on without another node that can't be given its part.

    >>> over = HandOver(verbs, "night", folder, knows=knows, emit=emit, note=note)
    >>> await over.look(begun=True)
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from motley.remote.config.cluster import Cluster
from motley.remote.config.resume_from import ResumeFrom
from motley.remote.errors import HostError, MotleyError, RunFailed, StartRefused, UsageError
from motley.remote.launch import resume_words
from motley.remote.launch.all_hosts import Emit, stop_all
from motley.remote.launch.placement import Knows
from motley.remote.launch.resume_checkpoint import bring_checkpoint, bring_file, listed_by, told_of
from motley.remote.quoting import pasteable
from motley.remote.rpc.verbs import SUPERVISE_S, Verbs, answered
from motley.remote.session.placed.lacking_nodes import Failed, specs_of
from motley.trainer.contract import checkpoint_trailer
from motley.trainer.contract.checkpoint_trailer import Trailer
from motley.trainer.contract.spec import Spec
from motley.trainer.contract.term import Term

KEEPERS_S = 15.0  # for the leader's node to take up what it has
ASK_S = 0.5
STOP_S = 60.0
TRIES = 3  # to ask a node what it has: it has just begun, and may not answer at once
AT_WORK = ("starting", "running")
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
        self._stopped = False  # the run, on the nodes that had it: nothing goes on there by itself

    async def look(self, *, begun: bool) -> None:
        """`begun`: the job has started just now. Raises RunFailed where the node that leads has nothing of the run and
        can't be given it, and what to do then."""
        cluster = self._verbs.hosts.cluster
        there = [host.name for host in cluster.hosts if host.slurm is not None and host.slurm.node]
        if not restarts_of(cluster) or cluster.leader not in there:
            return
        have, silent = await self._asked(there)
        self._without(silent, "did not say what they have")
        if cluster.leader in silent:
            return
        lacking = [name for name in there if name not in have and name not in silent]
        try:
            behind = begun and cluster.leader in have and await self._is_behind(cluster.leader, have)
            if lacking or behind:
                await self._hand_over(have, lacking, behind=behind)
        except (MotleyError, ValueError) as error:
            if not self._stopped and (cluster.leader in have or await self._goes_on(cluster.leader)):
                self._without(dict.fromkeys(lacking or have, error))
                return
            text = f"'{self._run}' was requeued by Slurm, and can't go on there: {error}"
            resume = pasteable(["motley", "run", "--resume", self._run])
            again = f"`{resume}` goes on from the newest checkpoint that came home"
            raise RunFailed(f"{text}\n  {again}") from error

    async def _asked(self, there: Sequence[str]) -> tuple[list[str], Failed]:
        """The nodes that have something of the run, and those that do not say."""

        async def one(name: str) -> bool | HostError:
            for _ in range(TRIES - 1):
                with contextlib.suppress(HostError):
                    return await self._verbs.has(name, self._run)
            try:
                return await self._verbs.has(name, self._run)
            except HostError as error:
                return error

        said = dict(zip(there, await asyncio.gather(*map(one, there)), strict=True))
        silent: Failed = {name: answer for name, answer in said.items() if isinstance(answer, HostError)}
        return [name for name, has in said.items() if has is True], silent

    async def _goes_on(self, leader: str) -> bool:
        """Whether the leader's node is at work by now: another console may have brought the run there."""
        return (await told_of(self._verbs, leader, self._run)).get("state") in AT_WORK

    def _without(self, failed: Mapping[str, Exception], what: str = "could not be given what they need") -> None:
        """These nodes have no part in the run, or their old one. That is no reason to end it."""
        again = f"`{pasteable(['motley', 'attach', self._run])}` tries again"
        hosts: dict[str, list[str]] = {}
        for name, error in failed.items():
            hosts.setdefault(" ".join(str(error).split()), []).append(name)
        for why, names in hosts.items():
            text = f"{', '.join(names)}: these nodes {what} of '{self._run}', which goes on all the same"
            self._note(f"{text}: {why.rstrip('.')}. {again}", "warning")

    async def _is_behind(self, leader: str, have: Sequence[str]) -> bool:
        """Whether the leader's node has begun from a checkpoint older than one that is here, or on another node."""
        restarts, loop = restarts_of(self._verbs.hosts.cluster), asyncio.get_running_loop()
        ends = loop.time() + KEEPERS_S
        while (began := await self._began(leader, restarts)) is None:
            if loop.time() > ends:
                return False  # it is over there
            await asyncio.sleep(ASK_S)
        told = await asyncio.gather(*(told_of(self._verbs, host, self._run) for host in have))
        known = list(checkpoint_trailer.listed(self._folder / "checkpoints").values())
        known += [one.trailer for host, table in zip(have, told, strict=True) for one in listed_by(host, table)]
        return newest_before(known, restarts) > began

    async def _began(self, leader: str, restarts: int) -> Age | None:
        with contextlib.suppress(HostError):  # it is asked again
            return began_from(await self._verbs.fetch(leader, self._run, BEGAN), restarts)
        return None

    async def _theirs(self, have: Sequence[str]) -> Spec | None:
        """The spec of a node that has one; None where none has. Raises the HostError of the last."""
        for name in have[:-1]:
            with contextlib.suppress(HostError):
                return await self._verbs.spec(name, self._run)
        return await self._verbs.spec(have[-1], self._run) if have else None

    async def _hand_over(self, have: list[str], lacking: list[str], *, behind: bool) -> None:
        hosts, run = self._verbs.hosts, self._run
        leader = hosts.cluster.leader
        theirs: Spec | None = None
        given: dict[str, Spec] = {}
        failed: Failed = {}
        if lacking:
            self._note(f"{', '.join(lacking)}: these nodes have nothing of '{run}', which is brought there", "warning")
            try:
                theirs = await self._theirs(have)
                given, failed = await specs_of(
                    self._verbs, run, self._folder, theirs, lacking, knows=self._knows, emit=self._emit
                )
            except (MotleyError, ValueError) as error:
                failed = dict.fromkeys(lacking, error)
            if leader in failed:
                raise failed[leader]
            self._without(failed)
        checkpoint = ""
        if behind:
            why = "a newer checkpoint is known than that on the leader's node"
            self._note(f"{why}: '{run}' begins once more from it", "warning")
            self._stopped = True
            silent = await stop_all(self._verbs, run, have, self._emit, _kept, reason=why, bound_s=STOP_S)
            if leader in silent:
                self._note(f"{leader} did not answer the stop: '{run}' goes on there as it began", "warning")
                return
            checkpoint = await self._checkpoint(leader, [])
        elif leader in lacking and not (checkpoint := await self._checkpoint(leader, have)):
            checkpoint, given[leader] = await self._beginning(given[leader], theirs, [*have, *lacking])
        again = [name for name in have if behind]
        failed = {}
        for name in sorted([*given, *again], key=lambda name: name != leader):
            try:
                await self._take_up(name, given.get(name), checkpoint if name == leader else "")
            except HostError as error:
                if name == leader:
                    raise
                failed[name] = error
        self._without(failed)

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

    async def _beginning(self, spec: Spec, theirs: Spec | None, there: Sequence[str]) -> tuple[str, Spec]:
        """What the run began with, brought to its leader once more: the name of a checkpoint in its folder, or a spec
        that says where one of another run is. Neither for a run that began anew."""
        leader = spec.host
        wanted = resume_words.kept(self._folder) or began_with(theirs)
        if wanted is None:
            return "", spec
        if wanted.file is not None:
            return await bring_file(self._verbs, leader, self._run, wanted.file), spec
        old = self._folder.with_name(wanted.run)
        name = await bring_checkpoint(self._verbs, leader, wanted, there, old, lambda text: self._note(text, "warning"))
        folder = f"~/.motley/runs/{wanted.run}/{leader}/checkpoints"
        place = f"{folder}/{name}" if wanted.checkpoint else folder
        return "", dataclasses.replace(spec, resume=place, resume_of=wanted.run)

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


def began_with(theirs: Spec | None) -> ResumeFrom | None:
    """The checkpoint of another run that the run began with, as a host tells of it. A file is none: the path would be
    one of this machine."""
    if theirs is None or not theirs.resume or theirs.resumed_from in (None, theirs.run):
        return None
    name = Path(theirs.resume).stem if theirs.resume.endswith(".pt") else ""
    try:
        wanted = ResumeFrom.of(f"{theirs.resumed_from}@{name}" if name else str(theirs.resumed_from))
    except UsageError:
        return None
    return wanted if wanted.file is None else None


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

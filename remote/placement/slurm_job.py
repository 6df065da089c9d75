"""The job that has the nodes of a run: submitted, waited for, found again by its name, cancelled and seen to be gone.

>>> job = SlurmJob(cluster, "night")
>>> [host.address for host in (await job.place(say)).hosts]
['10.77.0.11', '10.77.0.12']
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from motley.remote.config.cluster import Cluster, Host
from motley.remote.errors import CommandFailed, HostError, RunFailed, UsageError
from motley.remote.hosts.login_node import LoginNode, command, to_paste
from motley.remote.hosts.pool import Hosts
from motley.remote.placement.manifests import Manifests, none
from motley.remote.placement.slurm_commands import ASK_S, LOOK_S, SlurmCommands
from motley.remote.placement.slurm_queue import Component, State, as_they_began, named, refusal, state_of, who_is_who
from motley.remote.placement.slurm_script import PREFIX, classes, job_name, script
from motley.remote.quoting import pasteable

LOOK_MOST_S = 10.0  # between two looks at the queue, which begin with LOOK_S
BEGIN_S = 60.0  # from a job that runs to keepers that answer
FOUND_S = 10.0  # for those of a job that is found: a node that is lost may not be known to be
AGAIN_S = 60.0  # from the end of a run, which nobody has stopped, to its job in the queue once more
END_S = 60.0  # for a cancelled job to be gone: processes are given time to end (KillWait)

Say = Callable[[str], object]


class SlurmJob:
    """Of one run. Raises ValueError for a cluster whose hosts are no nodes."""

    def __init__(self, cluster: Cluster, run: str) -> None:
        if cluster.slurm is None:
            raise ValueError("no cluster of Slurm's")
        self._cluster, self._options = cluster, cluster.slurm
        self._slurm = SlurmCommands(cluster.slurm)
        self._run, self._name = run, job_name(run)
        self._job = ""  # its number, once it is known
        self._ended = ""  # the same, once it is given back
        self._began = ""  # when it did, as Slurm has it: a job that is requeued begins anew

    async def place(self, say: Say, manifests: Manifests = none) -> Cluster:  # noqa: ARG002
        """A job of this name that was submitted by hand is taken as it is. Raises as `Placement.place` says."""
        async with self._slurm.gate() as gate:
            submitting = asyncio.ensure_future(self._submit(gate, say))
            try:
                await asyncio.shield(submitting)
                return await self._hosts(gate, say, BEGIN_S)
            except BaseException:
                # Also when it is cancelled: what was asked for is given back.
                await asyncio.shield(asyncio.ensure_future(self._take_back(submitting, say)))
                raise

    async def found(self, say: Say) -> Cluster:
        """Raises UsageError where there is no such job."""
        async with self._slurm.gate() as gate:
            components = named(await self._slurm.queue(gate), self._name)
            if not components or state_of(components).phase == "gone":
                where = f"what it left is beside cluster.toml, in experiments/{self._run}"
                text = f"Slurm has no job {self._name}: the run '{self._run}' is over, or was never started here"
                again = (
                    f"`{pasteable(['motley', 'run', '--resume', self._run])}` goes on from its newest checkpoint there"
                )
                raise UsageError(f"{text}; {where} if it was followed from this machine, and {again}")
            self._job = components[0].job
            return await self._hosts(gate, say, FOUND_S)

    async def state(self) -> State:
        async with self._slurm.gate() as gate:
            return state_of(named(await self._slurm.queue(gate), self._name))

    async def is_anew(self) -> bool:
        async with self._slurm.gate() as gate:
            return self._is_anew([one for one in await self._slurm.queue(gate) if one.job == self._job])

    async def again(self, say: Say) -> Cluster | None:
        """Waits for `AGAIN_S` for Slurm to requeue it, then for as long as it is in the queue."""
        if not self._options.requeue:
            return None
        loop = asyncio.get_running_loop()
        ends = loop.time() + AGAIN_S
        async with self._slurm.gate() as gate:
            while loop.time() < ends:
                components = [one for one in await self._slurm.queue(gate) if one.job == self._job]
                if state_of(components).phase == "gone":
                    return None
                if self._is_anew(components):
                    self._tell(say, "requeued by Slurm")
                    return await self._hosts(gate, say, BEGIN_S)
                await asyncio.sleep(LOOK_S)
        return None

    def _is_anew(self, components: Sequence[Component]) -> bool:
        """Whether it waits once more, or has begun once more. Before it is requeued it ends."""
        running = state_of(components).phase == "running" and all(one.state == "RUNNING" for one in components)
        return state_of(components).phase == "queued" or (running and components[0].start != self._began)

    async def end(self, say: Say) -> str:
        """Cancels the job, and waits until Slurm has none of it any more. Never raises a HostError."""
        if not self._job:
            return ""
        try:
            async with self._slurm.gate() as gate:
                return await self._cancel(gate, say)
        except HostError as error:
            return f"job {self._job}: {error.cause}; {to_paste(self._options, ['scancel', self._job])} ends it"

    async def accounts(self, say: Say) -> dict[str, Any]:
        """As `slurm`: the number of the job, and its components."""
        try:
            async with self._slurm.gate() as gate:
                components, why = await self._slurm.accounts(gate, self._ended)
        except HostError as error:
            components, why = [], error.cause
        if why:
            say(f"job {self._ended}: no figures of sacct for the summary: {why}")
        return {} if why else {"slurm": {"job": int(self._ended), "components": components}}

    async def _take_back(self, submitting: asyncio.Future[None], say: Say) -> None:
        await asyncio.wait([submitting])
        if left := await self.end(say):
            self._tell(say, left)

    async def _submit(self, gate: LoginNode, say: Say) -> None:
        components = named(await self._slurm.queue(gate), self._name)
        if components and state_of(components).phase != "gone":
            self._job = components[0].job
            self._tell(say, "it is there already, and taken")
            return
        self._tell(say, "submitting a job")
        text = script(self._cluster, self._run).encode()
        done = await command(gate, ["sbatch", "--parsable"], stdin=text, timeout_s=ASK_S)
        if done.code:
            if done.code == 127 or "not found" in done.stderr:
                raise UsageError(self._slurm.missing())
            cause, remedy = refusal(done.stderr)
            raise RunFailed(f"Slurm takes no such job: {cause}\n  {remedy}")
        self._job = done.stdout.decode(errors="replace").strip().partition(";")[0]
        if not self._job.isdecimal():
            raise RunFailed(f"sbatch answered with {self._job!r}, which is no number of a job")

    async def _hosts(self, gate: LoginNode, say: Say, within_s: float) -> Cluster:
        """Waits for the nodes, then for their keepers."""
        components = await self._wait(gate, say)
        self._began = components[0].start
        now = [await self._slurm.names(gate, one.nodes) for one in components]
        there = {node for nodes in now for node in nodes}
        noted = [await self._slurm.names(gate, nodes) for nodes in components[0].comment.split(";") if nodes]
        nodes = as_they_began(noted, now)
        try:
            who = who_is_who([[host.name for host in of] for of in classes(self._cluster)], nodes)
        except ValueError as error:
            text = f"job {self._job} was not made from this cluster.toml: it has {error}"
            raise UsageError(f"{text}; {to_paste(self._options, ['scancel', self._job])} ends it") from error
        known = await self._slurm.addresses(gate, [node for _, node in who.values()])
        several, restarts = len(nodes) > 1, await self._slurm.restarts(gate, self._job)
        hosts = tuple(
            _placed(host, self._job, who[host.name][0] if several else None, who[host.name][1], known, there, restarts)
            for host in self._cluster.hosts
        )
        placed = dataclasses.replace(self._cluster, hosts=hosts)
        await self._answering(placed, gate, say, within_s)
        return placed

    async def _wait(self, gate: LoginNode, say: Say) -> list[Component]:
        """Until it runs. Raises RunFailed when it ends, or never begins."""
        said, pause = "", LOOK_S
        while True:
            components = named(await self._slurm.queue(gate), self._name)
            found = state_of([one for one in components if one.job == self._job])
            if found.says != said:
                said, pause = found.says, LOOK_S
                self._tell(say, found.says)
            if found.phase == "running":
                return components
            if found.phase == "gone" or found.remedy:
                raise RunFailed(f"job {self._job}: {found.says}\n  {found.remedy}")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LOOK_MOST_S)

    async def _answering(self, placed: Cluster, gate: LoginNode, say: Say, within_s: float) -> None:
        """Until every keeper has started something; a node that is lost need not. Raises RunFailed, or a HostError."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + within_s
        hosts_there = [host for host in placed.hosts if host.slurm is not None and host.slurm.node]

        async def one(host: Host) -> HostError | None:
            while True:
                try:
                    done = await (await hosts.get(host.name)).run(["true"], timeout_s=ends - loop.time() + 1.0)
                except HostError as error:
                    if loop.time() > ends:
                        return error
                    state = state_of([o for o in await self._slurm.queue(gate) if o.job == self._job])
                    if state.phase == "gone":
                        raise RunFailed(
                            f"job {self._job} has ended as it began: {state.says}\n  Look whether {host.python} is on "
                            f"the nodes: {to_paste(self._options, ['sacct', '-j', self._job])} may say more."
                        ) from error
                    await asyncio.sleep(LOOK_S)
                    continue
                if done.code:
                    raise CommandFailed(host.name, f"`true` ended with code {done.code}", "Report this.")
                return None

        async with Hosts(placed) as hosts:
            outcomes = await asyncio.gather(*map(one, hosts_there))
        failed = [error for error in outcomes if error is not None]
        if failed and len(failed) == len(outcomes):
            raise failed[0]
        for error in failed:
            self._tell(say, str(error))

    async def _cancel(self, gate: LoginNode, say: Say) -> str:
        await command(gate, ["scancel", self._job], timeout_s=ASK_S)
        ends = asyncio.get_running_loop().time() + END_S
        pause = 0.2
        while True:
            left = [one for one in await self._slurm.queue(gate) if one.job == self._job and one.state in _HOLDS]
            if not left:
                self._tell(say, "its nodes are given back")
                self._job, self._ended = "", self._job
                return ""
            if asyncio.get_running_loop().time() > ends:
                what = ", ".join(f"{one.state} on {one.nodes or 'no node'}" for one in left)
                again = to_paste(self._options, ["squeue", "-j", self._job])
                return f"job {self._job} was cancelled and is still {what}; {again} shows it"
            await asyncio.sleep(pause)
            pause = min(2 * pause, LOOK_S)

    def _tell(self, say: Say, text: str) -> None:
        say(f"job {self._job}: {text}" if self._job else f"slurm: {text}")


async def runs_of(cluster: Cluster) -> list[tuple[str, State]]:
    """The runs that have a job now, or wait for one, the newest first. Raises as `SlurmJob.found` does."""
    if cluster.slurm is None:
        raise ValueError("no cluster of Slurm's")
    slurm = SlurmCommands(cluster.slurm)
    async with slurm.gate() as gate:
        components = await slurm.queue(gate)
    names = {one.name: int(one.job) for one in components if one.name.startswith(PREFIX)}
    states = {name: state_of(named(components, name)) for name in sorted(names, key=lambda name: -names[name])}
    return [(name[len(PREFIX) :], state) for name, state in states.items() if state.phase != "gone"]


_HOLDS = ("PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING", "STOPPED", "SIGNALING", "STAGE_OUT")


def _placed(
    host: Host, job: str, group: int | None, node: str, known: Mapping[str, str], there: Collection[str], restarts: int
) -> Host:
    """`there`: the nodes that the job still has."""
    assert host.slurm is not None, "who is who names no other"
    node_now = node if node in there else ""
    about = dataclasses.replace(host.slurm, job=job, group=group, node=node_now, restarts=restarts)
    return dataclasses.replace(host, address=known[node], slurm=about)

"""The job that has the nodes of a run: submitted, waited for, found again by its name, cancelled and seen to be gone.

>>> job = SlurmJob(cluster, "night")
>>> [host.address for host in (await job.place(say)).hosts]
['10.77.0.11', '10.77.0.12']
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from motley.remote.config.cluster import Cluster, Host
from motley.remote.errors import CommandFailed, HostError, RunFailed, UsageError
from motley.remote.hosts.login_node import LoginNode, command, to_paste
from motley.remote.hosts.pool import Hosts
from motley.remote.placement.manifests import Manifests, none
from motley.remote.placement.slurm_asking import Asking, Silent
from motley.remote.placement.slurm_commands import ASK_S, LOOK_S, SlurmCommands
from motley.remote.placement.slurm_nodes import of_hosts, placed, whose
from motley.remote.placement.slurm_note import noted
from motley.remote.placement.slurm_queue import Component, State, as_they_began, named, refusal, state_of
from motley.remote.placement.slurm_script import PREFIX, job_name, script
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
        self._own = False  # it was submitted by this start
        self._ended = ""  # the same, once it is given back
        self._began = ""  # when it did, as Slurm has it: a job that is requeued begins anew

    async def place(self, say: Say, manifests: Manifests = none) -> Cluster:  # noqa: ARG002
        """A job of this name that is there already is taken as it is, unless its nodes have a run of the name. Raises
        as `Placement.place` says; a job that is not of this start's, or that Slurm says nothing of, stays as it is."""
        once_more = f"`{pasteable(['motley', 'run', '--name', self._run])}` waits for it again"
        async with self._asking(say, once_more) as asking:
            submitting = asyncio.ensure_future(self._submit(await asking.gate(), say))
            try:
                await asyncio.shield(submitting)
                cluster = await self._hosts(asking, say, BEGIN_S)
                if not self._own:
                    await self._check_free(cluster)
                return cluster
            except Silent:
                raise
            except BaseException:
                # Also when it is cancelled: what was asked for is given back.
                await asyncio.shield(asyncio.ensure_future(self._take_back(submitting, say)))
                raise

    async def found(self, say: Say) -> Cluster:
        """Of the hosts that the job was submitted for, which may be some of the cluster's. Raises UsageError where
        there is no such job."""
        async with self._asking(say, self._attach()) as asking:
            components = named(await self._slurm.queue(await asking.gate()), self._name)
            if not components or state_of(components).phase == "gone":
                where = f"what it left is beside cluster.toml, in experiments/{self._run}"
                text = f"Slurm has no job {self._name}: the run '{self._run}' is over, or was never started here"
                again = (
                    f"`{pasteable(['motley', 'run', '--resume', self._run])}` goes on from its newest checkpoint there"
                )
                raise UsageError(f"{text}; {where} if it was followed from this machine, and {again}")
            self._job = components[0].job
            return await self._hosts(asking, say, FOUND_S, some=True)

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
        async with self._asking(say, self._attach()) as asking:
            while loop.time() < ends:
                asked_at = loop.time()
                components = [one for one in await asking.ask(self._slurm.queue) if one.job == self._job]
                ends += loop.time() - asked_at  # how long Slurm takes to answer does not count
                if state_of(components).phase == "gone":
                    return None
                if self._is_anew(components):
                    self._tell(say, "requeued by Slurm")
                    return await self._hosts(asking, say, BEGIN_S, some=True)
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

    async def abandon(self, say: Say) -> str:
        """The same after a start that failed: a job that was there before stays as it is."""
        if self._job and not self._own:
            ends = to_paste(self._options, ["scancel", self._job])
            self._tell(say, f"it was there before this start, and is left as it is; {ends} ends it")
            return ""
        return await self.end(say)

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
        if left := await self.abandon(say):
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
        self._own = True

    @asynccontextmanager
    async def _asking(self, say: Say, again: str) -> AsyncIterator[Asking]:
        """`again`: what is to be done where Slurm gives no answer for long. The job is nobody's to cancel then."""
        async with Asking(self._slurm, lambda text: self._tell(say, text)) as asking:
            try:
                yield asking
            except Silent as error:
                ends = to_paste(self._options, ["scancel", self._job])
                text = f"job {self._job}: {error}\n  The job is not cancelled"
                raise Silent(f"{text}: {again}, {ends} ends it.") from error

    def _attach(self) -> str:
        return f"`{pasteable(['motley', 'attach', self._run])}` looks for it again"

    async def _hosts(self, asking: Asking, say: Say, within_s: float, *, some: bool = False) -> Cluster:
        """Waits for the nodes, then for their keepers. `some`: the job may be one of some of the cluster's hosts."""
        components = await self._wait(asking, say)
        self._began = components[0].start
        now = [await self._names(asking, one.nodes) for one in components]
        there = {node for nodes in now for node in nodes}
        told = noted(components[0].comment)
        nodes = as_they_began([await self._names(asking, nodes) for nodes in told.nodes], now)
        try:
            who = whose(self._cluster, told.hosts, nodes, some=some)
        except ValueError as error:
            text = f"job {self._job} was not made from this cluster.toml: it has {error}"
            raise UsageError(f"{text}; {to_paste(self._options, ['scancel', self._job])} ends it") from error
        self._cluster = of_hosts(self._cluster, who)
        known = await asking.ask(lambda gate: self._slurm.addresses(gate, [node for _, node in who.values()]))
        restarts = await asking.ask(lambda gate: self._slurm.restarts(gate, self._job))
        cluster = placed(self._cluster, self._job, who, known, there, restarts)
        await self._answering(cluster, asking, say, within_s)
        return cluster

    async def _names(self, asking: Asking, nodes: str) -> list[str]:
        return await asking.ask(lambda gate: self._slurm.names(gate, nodes))

    async def _wait(self, asking: Asking, say: Say) -> list[Component]:
        """Until it runs. Raises RunFailed when it ends, or never begins."""
        said, pause = "", LOOK_S
        while True:
            components = [one for one in await asking.ask(self._slurm.queue) if one.job == self._job]
            found = state_of(components)
            if found.says != said:
                said, pause = found.says, LOOK_S
                self._tell(say, found.says)
            if found.phase == "running":
                return components
            if found.phase == "gone" or found.remedy:
                raise RunFailed(f"job {self._job}: {found.says}\n  {found.remedy}")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LOOK_MOST_S)

    async def _answering(self, cluster: Cluster, asking: Asking, say: Say, within_s: float) -> None:
        """Until every keeper has started something; a node that is lost need not. Raises RunFailed, or a HostError."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + within_s
        hosts_there = [host for host in cluster.hosts if host.slurm is not None and host.slurm.node]

        async def one(host: Host) -> HostError | None:
            while True:
                try:
                    done = await (await hosts.get(host.name)).run(["true"], timeout_s=ends - loop.time() + 1.0)
                except HostError as error:
                    if loop.time() > ends:
                        return error
                    state = state_of([o for o in await asking.ask(self._slurm.queue) if o.job == self._job])
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

        async with Hosts(cluster) as hosts:
            outcomes = await asyncio.gather(*map(one, hosts_there))
        failed = [error for error in outcomes if error is not None]
        if failed and len(failed) == len(outcomes):
            raise failed[0]
        for error in failed:
            self._tell(say, str(error))

    async def _check_free(self, cluster: Cluster) -> None:
        """Raises UsageError for a job whose nodes have a run of this name: another start's, or one of before."""
        async with Hosts(cluster) as hosts:

            async def has(name: str) -> bool:
                with contextlib.suppress(HostError):  # a node that is lost; the start itself asks once more
                    spec = f".motley/runs/{self._run}/{name}/spec.json"
                    return (await (await hosts.get(name)).run(["test", "-s", spec], timeout_s=ASK_S)).code == 0
                return False

            names = [host.name for host in cluster.hosts if host.slurm is not None and host.slurm.node]
            taken = [name for name, has_it in zip(names, await asyncio.gather(*map(has, names))) if has_it]
        if taken:
            text = f"job {self._job} is there already, and a run '{self._run}' on {', '.join(taken)}"
            follow = f"`{pasteable(['motley', 'attach', self._run])}` follows it"
            raise UsageError(f"{text}: {follow}, or choose another name with --name")

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

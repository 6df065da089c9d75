"""The life of a run, as the master sees it: check, push, start, follow, stop. Owns the experiment folder.

    session = Session(cluster, "night", emit=store.apply)
    await session.launch()             # returns once ranks are started everywhere; or raises, with nothing started
    ended = await session.wait()       # follows until the end state
    await session.close()              # leaves; the run goes on

SSH is a viewer and a command path: closing a session, or losing its connections, changes nothing for the run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

from motley.remote.config.cluster import Cluster
from motley.remote.config.command_line import check_run_name
from motley.remote.diagnosis.failures import Report
from motley.remote.end_tasks import end
from motley.remote.errors import RunFailed, UsageError
from motley.remote.experiment.experiment_writer import ExperimentWriter
from motley.remote.experiment.folder import Experiment, experiments_folder
from motley.remote.experiment.machines import recorded_machines
from motley.remote.feed import Ended, FeedRecord
from motley.remote.hosts.pool import Hosts
from motley.remote.hosts.this_machine import Elsewhere
from motley.remote.launch import placement
from motley.remote.launch.all_hosts import stop_all
from motley.remote.launch.start_run import end_start
from motley.remote.launch.warm_restart import Cold, Offer, next_run, offered, rerun_all
from motley.remote.provision.push_code import Tree
from motley.remote.rpc.verbs import Verbs
from motley.remote.session.checkpoint_now import CheckpointAnswers, Written
from motley.remote.session.failover import Failover
from motley.remote.session.find_run import find
from motley.remote.session.follow_run import RunFollower
from motley.remote.session.join_host import bring_in, named_in
from motley.remote.session.placed.pods_start import manifests_of, start_of
from motley.remote.session.run_hosts import RunHosts, never_began
from motley.remote.ssh.new_host_keys import Ask, introduced, new_keys, nobody
from motley.trainer.contract.run_changes import Lead
from motley.trainer.contract.spec import Spec

STOP_BOUND_S = 25.0  # beyond the grace: the supervisor's own bounds


class Session:
    """One run of one cluster, from one console. `tree` is what the hosts are given; by default this installation's.

    `ask` is asked about host keys that nobody knows yet, between two attempts to connect. One that is `readonly` can
    attach and follow, and changes nothing for the run: it brings no host back and names no leader either.
    """

    def __init__(
        self,
        cluster: Cluster,
        run: str,
        *,
        emit: Callable[[FeedRecord], None],
        tree: Tree | None = None,
        knows: placement.Knows = placement.unknown,
        ask: Ask = nobody,
        readonly: bool = False,
    ) -> None:
        check_run_name(run)
        self.run = run
        self.folder = experiments_folder(cluster) / run
        self._cluster = cluster
        self._knows = knows
        self._ask, self._readonly = ask, readonly
        self._hosts = Hosts(cluster)
        self._verbs = Verbs(self._hosts, tree or Tree.installed())
        self._checkpoints = CheckpointAnswers(run, emit)
        self._logbook = ExperimentWriter(run, emit=self._checkpoints.hear)
        self._run_hosts = RunHosts(cluster, run, self._verbs, self._logbook, knows=knows, readonly=readonly)
        self._following: RunFollower | None = None
        self._leader = cluster.leader
        self._tasks: list[asyncio.Task[Any]] = []
        self._ended: asyncio.Future[Ended] | None = None
        self._launched = self._stopping = False
        self._unanswered: tuple[str, ...] = ()
        self._spec: Spec | None = None  # of the host that leads, as it was started
        self._lent = False  # another session has the connections now

    async def launch(self, *, resume: str | None = None, why_cold: str = "") -> None:
        """Check, push, start. `resume`: the run to go on from; `why_cold`: why it is no warm restart, for its events.

        Raises ConfigError for a script or task that is not there, CheckFailed with all findings, UsageError, RunFailed
        when a host could not start its part: then nothing is left running anywhere.
        """
        self._may_change()
        self._launched = True
        async with self._run_hosts.starting(manifests_of(self._cluster, self.run, resume=resume)) as self._cluster:
            self._spec = await start_of(self._cluster)(
                self._cluster, self.run, self.folder, verbs=self._verbs, logbook=self._logbook,
                knows=self._knows, ask=self._ask, stop=self._stop_hosts, why_cold=why_cold,
            ).start(resume=resume)  # fmt: skip
        self._follow([host.name for host in self._cluster.hosts], self._reform())

    async def take_over(self, old: object, *, resume: str | None) -> str:
        """A warm restart: start this run in place of the one that `old`, another session, follows. Ends that one.

        `resume`: the name of that run, to go on from its last step. Returns why it can't be, with nothing changed; or
        "" when the ranks are started everywhere. `old` then only brings home what is left to fetch: wait for it, and
        close it before this one. Raises RunFailed when a host broke its word: the old run is ended where it could be.
        """
        began = time.monotonic()
        self._may_change()
        if not isinstance(old, Session):
            return "no run is under way"
        if self.folder.exists():
            return f"there is a run named '{self.run}' already"
        try:
            offer = await old.offer()
            specs = await next_run(
                offer, self._cluster, self.run, tree=self._verbs.tree.hash, before_s=time.monotonic() - began,
                resume=resume,
            )  # fmt: skip
        except Cold as cold:
            return str(cold)

        def begin() -> None:
            experiment = Experiment.create(self.folder, self._cluster.text)
            self._verbs, self._hosts = offer.verbs, offer.verbs.hosts
            self._logbook.keep(experiment, self._verbs)
            self._hosts.adopt(self._cluster)
            old.hand_over(self.run)
            self._launched = True
            self._spec = next(spec for spec in specs if spec.is_leader)
            self._logbook.lay_out(placement.layout(self._cluster, self.run, self._spec.members))
            self._logbook.note(f"warm restart of '{old.run}': torch is imported already", kind="warm_restart")

        bound_s = self._cluster.run.stop_grace_s + STOP_BOUND_S
        outcome = await rerun_all(offer.verbs, offer.run, specs, self._logbook.emit, bound_s=bound_s, begin=begin)
        if outcome.refused:
            return outcome.refused
        hosts = [host.name for host in self._cluster.hosts]
        if outcome.failed:
            old.handed_over(back=True)
            self._lent = True
            text = "; ".join(f"{host}: {why}" for host, why in outcome.failed.items())
            await end_start(self._logbook, self._stop_hosts, hosts, hosts, f"the restart failed: {text}")
            await self.close()
            raise RunFailed(text)
        old.handed_over(back=False)
        self._follow(hosts, self._reform())
        return ""

    async def offer(self) -> Offer:
        """What another session needs to start a run in the processes of this one. Raises Cold when it can't."""
        following = self._following
        if following is None or self._stopping:
            raise Cold("no run is under way")
        silent = await following.silent()
        return await offered(self._verbs, self.run, self._cluster, self._spec, leader=following.leader, silent=silent)

    def hand_over(self, run: str) -> None:
        """Another session starts `run` in place of this one's: over these connections, which it is to close."""
        assert self._following is not None, "launch or attach comes first"
        self._lent = self._stopping = self._following.stopping = True
        self._logbook.note(f"stopping: restart as '{run}'", kind="stopping")

    def handed_over(self, *, back: bool) -> None:
        """Every host has ended its part of this run. With `back` the connections are this session's again."""
        assert self._following is not None, "launch or attach comes first"
        self._lent = not back
        self._following.stopped.set()

    async def attach(self, *, revive: bool = True) -> None:
        """Find the run on the hosts and follow it from where the experiment folder ends, or from its beginning.

        With `revive` hosts that were cut off are brought back. Raises UsageError when no host that answers knows the
        run, or the folder here is damaged.
        """
        self._cluster = await self._run_hosts.found()
        outcomes = await introduced(
            lambda: self._hosts.connect(self._logbook.emit), lambda found: new_keys(found.values()), self._ask
        )
        layout, lead = await find(self._verbs, outcomes, self.run, self._logbook.warn, recorded_machines(self.folder))
        self._leader = layout.leader
        experiment = Experiment.open(self.folder)
        self._logbook.keep(experiment, self._verbs)
        self._logbook.lay_out(layout, behind=True)
        reform = self._reform(lead)
        if not (self.folder / "cluster.toml").exists():
            experiment.write_whole("cluster.toml", self._cluster.text.encode())
        self._logbook.replay(reform.hear)
        self._follow(dict.fromkeys(rank.host for rank in layout.ranks), reform, revive=revive)
        self._tasks.append(asyncio.ensure_future(self._catch_up(patient=False)))

    async def _catch_up(self, *, patient: bool) -> None:
        assert self._following is not None, "launch or attach comes first"
        await self._following.caught_up(patient=patient)
        self._logbook.caught_up(over=self._following.is_over)

    async def wait(self) -> Ended:
        """The end of the run, once every host has been read to its end."""
        assert self._ended is not None, "launch or attach comes first"
        return await asyncio.shield(self._ended)

    @property
    def failed(self) -> Report | None:
        """Which rank failed first, of those that are known to have failed by now."""
        return self._logbook.failures.report()

    @property
    def away(self) -> tuple[Elsewhere, ...]:
        """Hosts that can't be followed from this machine, since they are another one."""
        return self._hosts.away

    async def caught_up(self) -> None:
        """Until every host that answers has sent what it had, and it was told."""
        await self._catch_up(patient=True)

    async def stop(self, reason: str) -> Ended:
        """End the run on every host; returns once each has said how many processes are left, or did not answer.

        Before there is anything to follow, that is every host; a start that was broken off has left nothing there.
        """
        self._may_change()
        self._stopping = True
        self._logbook.note(f"stopping: {reason}", kind="stopping")
        following = self._following
        if following is None:
            hosts = [host.name for host in self._cluster.hosts]
            silent = () if self._launched else await self._stop_hosts(hosts, reason)
            return never_began(self.run, hosts, silent)
        following.stopping = True
        try:
            self._unanswered = await self._stop_hosts(following.hosts, reason)
        finally:
            following.stopped.set()
        for name in self._unanswered:
            self._logbook.note(f"{name} did not answer the stop: processes may be left there", "error")
            following.give_up(name)
        return await self.wait()

    async def join(self, name: str) -> None:
        """Bring a host of cluster.toml, as it is now, into the run: a new one, or one that it lost or that was taken
        out. Returns once its ranks are started; they join at the end of a step.

        Raises CheckFailed with all findings, ConfigError, UsageError or a HostError: then nothing was started.
        """
        following = self._under_way()
        host = await self._hosts.put(self._run_hosts.placed(named_in(self._cluster, name)))
        leader, tell = following.leader, self._logbook.emit
        joined = await bring_in(self._verbs, self.run, leader, host, folder=self.folder, knows=self._knows, emit=tell)
        self._logbook.joined(host, joined.members, joined.warnings, back=joined.back)
        following.follow(name)

    async def drop(self, name: str) -> bool:
        """Take a host out of the run; the others go on. Returns whether the host said that no process is left there.

        Raises UsageError when it can't be taken out, a HostError when the host that leads can't be asked.
        """
        following = self._under_way()
        await self._verbs.drop(following.leader, self.run, name)
        return name in following.hosts and not await self._stop_hosts([name], "motley drop")

    async def checkpoint(self) -> Written:
        """Have rank 0 write one at the end of its step. Raises UsageError, RunFailed or a HostError when none comes."""
        leader = self._under_way().leader
        return await self._checkpoints.after(lambda asked: self._verbs.checkpoint(leader, self.run, asked), self.wait())

    def _may_change(self) -> None:
        """Raises UsageError when this console only watches."""
        if self._readonly:
            raise UsageError(f"this console only watches '{self.run}': attach without --readonly to change it")

    def _under_way(self) -> RunFollower:
        self._may_change()
        if self._following is None or self._stopping:
            raise UsageError(f"'{self.run}' is not under way: nobody can join or leave it, and nothing is written")
        return self._following

    async def close(self) -> None:
        """Leave. The run goes on."""
        await end(self._tasks)
        if self._following is not None:
            await self._following.close()
        await self._logbook.close()
        if not self._lent:
            await self._hosts.close()

    def _reform(self, lead: Lead | None = None) -> Failover:
        order, port = [host.name for host in self._cluster.hosts], self._cluster.coordinator_port
        return Failover(self._verbs, self.run, order=order, leader=self._leader, port=port, lead=lead)

    def _follow(self, names: Iterable[str], reform: Failover, *, revive: bool = True) -> None:
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        self._following = RunFollower(
            self._verbs, self.run, self._leader, self._logbook.experiment, reform,
            emit=self._logbook.emit, note=self._logbook.note, stop=self._stop_hosts, taken_up=self._run_hosts.taken_up,
        )  # fmt: skip
        self._following.revives = revive
        self._following.acts = not self._readonly and self._hosts.take_commands
        self._following.start(names)
        self._tasks.append(loop.create_task(self._watch(self._following, self._ended)))

    async def _watch(self, following: RunFollower, ended: asyncio.Future[Ended]) -> None:
        """Wait for every host's end, and say how the run ended; or what keeps this console from following it."""
        try:
            async with self._logbook.keeping(following.catch_up) as kept, self._run_hosts.watched(kept) as alongside:
                await following.until_over(alongside)
            result = await self._logbook.bring_home(
                following.states(), following.leader, following.hosts, stopping=self._stopping
            )
            await self._run_hosts.over(result)
            record = Ended(state=str(result["state"]), summary=result, unanswered=self._unanswered)
            self._logbook.emit(record)
            ended.set_result(record)
        except Exception as error:  # noqa: BLE001 - whoever waits for the end gets it
            ended.set_exception(error)

    async def _stop_hosts(self, names: Iterable[str], reason: str) -> tuple[str, ...]:
        bound_s, back = self._cluster.run.stop_grace_s + STOP_BOUND_S, self._run_hosts.give_back
        return await stop_all(self._verbs, self.run, names, self._logbook.emit, back, reason=reason, bound_s=bound_s)

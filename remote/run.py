"""The life of a run, as the master sees it: check, push, start, follow, stop. Owns the experiment folder.

    session = Session(cluster, "night", emit=store.apply)
    await session.launch()             # returns once ranks are started everywhere; or raises, with nothing started
    ended = await session.wait()       # follows until the end state
    await session.close()              # leaves; the run goes on

SSH is a viewer and a command path: closing a session, or losing its connections, changes nothing for the run.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from remote import placement
from remote.check import CheckResult, members_of
from remote.cluster import Cluster, check_run_name
from remote.data import folder_of
from remote.early import Early
from remote.ending import end
from remote.errors import HostError, RunFailed, StartRefused, UsageError
from remote.everywhere import having, start_all, stop_all
from remote.experiment import Experiment
from remote.feed import Ended, FeedRecord, Layout, Progress
from remote.find import find
from remote.following import Following
from remote.harvest import Harvest, final_summary, pretty
from remote.hosts import Hosts
from remote.introduced import Ask, introduced, new_keys, nobody
from remote.joining import bring_in, named_in
from remote.last_loss import LastLosses
from remote.project import project_of
from remote.push import Tree
from remote.ready import looked_over, supplied
from remote.reform import Reform
from remote.resume import bring_checkpoint
from remote.script_keys import check_resume
from remote.verbs import Verbs
from remote.warm import rerun_all, why_cold
from trainer.spec import Lead, Spec
from trainer.wire import Event, Sample

COMMIT_S = 0.5
STOP_BOUND_S = 25.0  # beyond the grace: the supervisor's own bounds


def experiments_folder(cluster: Cluster) -> Path:
    """`experiments/` beside cluster.toml."""
    return cluster.path.absolute().parent / "experiments"


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
        self._emit_to = emit
        self._knows = knows
        self._ask = ask
        self._readonly = readonly
        self._hosts = Hosts(cluster)
        self._verbs = Verbs(self._hosts, tree or Tree.installed())
        self._experiment: Experiment | None = None
        self._harvest: Harvest | None = None
        self._following: Following | None = None
        self._losses = LastLosses()
        self._leader = cluster.leader
        self._layout: Layout | None = None
        self._world_size = 0  # of the newest group
        self._tasks: list[asyncio.Task[Any]] = []
        self._ended: asyncio.Future[Ended] | None = None
        self._launched = False
        self._stopping = False
        self._unanswered: tuple[str, ...] = ()
        self._connected_at = 0.0
        self._spec: Spec | None = None  # of the host that leads, as it was started
        self._lent = False  # another session has the connections now

    async def launch(self, *, resume: str | None = None) -> None:
        """Check, push and start. `resume` names the run whose newest checkpoint to go on from.

        Raises ConfigError for a script that is not there, CheckFailed with all findings, UsageError for a name in use,
        RunFailed when a host could not start its part: then nothing is left running anywhere.
        """
        self._may_change()
        async with Early(self._verbs, self._hosts, self.run) as early:
            await self._launch(resume, early)

    async def _launch(self, resume: str | None, early: Early) -> None:
        self._launched = True
        check_resume(self._cluster, resume)
        if self.folder.exists():
            raise UsageError(f"{self.folder} is there already: choose another name with --name")
        project, script = await asyncio.to_thread(project_of, self._cluster)
        data = await folder_of(self._cluster, self._emit)
        look = await looked_over(self._hosts, self._emit, self._ask, probed=early.begin)
        checked = look.checked
        connected = time.monotonic()
        if taken := await having(self._verbs, self.run, checked.probes):  # it may hold the port, too
            raise UsageError(f"{', '.join(taken)} had a run named {self.run} already: choose another name with --name")
        members = members_of(self._cluster, checked, self._knows)
        cluster = await supplied(self._verbs, checked, self._emit, project=project, data=data)
        pushed = time.monotonic()
        checkpoint = await self._checkpoint_of(resume, checked) if resume else None
        self._keep(Experiment.create(self.folder, self._cluster.text))
        self._lay_out(placement.layout(self._cluster, self.run, members))
        for finding in checked.findings:
            self._note(f"{finding.host}: {finding.cause}. {finding.remedy}", "warning")
        if words := placement.first_words(members, self._cluster):
            self._note(words)
        token = secrets.token_hex(32)
        phases = {
            "connect_s": max(0.0, (self._connected_at or connected) - look.checking),
            "push_s": pushed - connected,
        }
        specs = [
            placement.spec_for(
                cluster, self.run, host, members, token=token, leader_address=checked.leader_address,
                before_s=time.monotonic() - look.began, phases=phases, resume=checkpoint, script=script,
                python=checked.probes[host.name].executable, container=self._hosts.container(host.name),
            )
            for host in self._cluster.hosts
        ]  # fmt: skip
        self._spec = next(spec for spec in specs if spec.is_leader)
        starting = asyncio.ensure_future(start_all(self._verbs, specs, checked.probes, self._emit, early))
        try:
            failed = await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.shield(self._abandon(starting, "the start was broken off", stopped=True))
            raise
        if failed:
            unanswered = await asyncio.shield(self._abandon(starting, f"{', '.join(failed)} could not start"))
            left = [f"{name}: no answer to the stop, ranks may run on there." for name in unanswered]
            raise RunFailed("\n".join([*map(str, failed.values()), *left]))
        self._follow([host.name for host in self._cluster.hosts], self._reform())

    async def take_over(self, old: object, *, resume: str | None) -> str:
        """A warm restart: start this run in place of the one that `old`, another session, follows. Ends that one.

        `resume`: the name of that run, to go on from its last step. Returns why it can't be, with nothing changed; or
        "" when the ranks are started everywhere. `old` then only brings home what is left to fetch: wait for it, and
        close it before this one. Raises RunFailed when a host broke its word: the old run is ended where it could be.
        """
        began = time.monotonic()
        self._may_change()
        following = old._following if isinstance(old, Session) else None
        if not isinstance(old, Session) or following is None or old._stopping:
            return "no run is under way"
        if self._verbs.tree.hash != old._verbs.tree.hash:
            return "the code has changed"
        if self.folder.exists():
            return f"there is a run named {self.run} already"
        if silent := following.silent:
            return f"{', '.join(silent)} can't be reached at the moment"
        try:
            before = old._spec or await old._verbs.spec(following.leader, old.run)
        except HostError as error:
            return str(error)
        if why := why_cold(old._cluster, self._cluster, before):
            return why
        specs = placement.next_specs(
            before, self._cluster, self.run, token=secrets.token_hex(32), before_s=time.monotonic() - began,
            resume=resume,
        )  # fmt: skip

        def begin() -> None:
            experiment = Experiment.create(self.folder, self._cluster.text)
            self._verbs, self._hosts = old._verbs, old._hosts
            self._keep(experiment)
            self._hosts.adopt(self._cluster)
            old._lent = old._stopping = following.stopping = True
            old._note(f"stopping: restart as {self.run}", kind="stopping")
            self._launched = True
            self._spec = next(spec for spec in specs if spec.is_leader)
            self._lay_out(placement.layout(self._cluster, self.run, self._spec.members))
            self._note(f"warm restart of {old.run}: torch is imported already")

        bound_s = before.options.stop_grace_s + STOP_BOUND_S
        outcome = await rerun_all(old._verbs, old.run, specs, self._emit, bound_s=bound_s, begin=begin)
        if outcome.refused:
            return outcome.refused
        following.stopped.set()
        if outcome.failed:
            old._lent = False
            text = "; ".join(f"{host}: {why}" for host, why in outcome.failed.items())
            await self._end_start([h.name for h in self._cluster.hosts], f"the restart failed: {text}", "failed")
            self._lent = True  # the connections are the other's again
            await self.close()
            raise RunFailed(text)
        self._follow([host.name for host in self._cluster.hosts], self._reform())
        return ""

    async def attach(self, *, revive: bool = True) -> None:
        """Find the run on the hosts and follow it from where the experiment folder ends, or from its beginning.

        With `revive` hosts that were cut off are brought back. Raises UsageError when no host that answers knows the
        run, or the folder here can't be used.
        """
        outcomes = await introduced(
            lambda: self._hosts.connect(self._emit), lambda found: new_keys(found.values()), self._ask
        )
        layout, lead = await find(self._verbs, outcomes, self.run, self._warn)
        self._leader = layout.leader
        experiment = Experiment.open(self.folder)
        self._keep(experiment)
        self._lay_out(layout)
        reform = self._reform(lead)
        if experiment.writable:  # else everything comes from the hosts, from its beginning
            if not (self.folder / "cluster.toml").exists():
                experiment.write_whole("cluster.toml", self._cluster.text.encode())
            for record in experiment.replay():
                if isinstance(record, Event):
                    reform.hear(record)
                self._emit(record)
        self._follow(dict.fromkeys(rank.host for rank in layout.ranks), reform, revive=revive)

    async def wait(self) -> Ended:
        """The end of the run, once every host has been read to its end."""
        assert self._ended is not None, "launch or attach comes first"
        return await asyncio.shield(self._ended)

    async def caught_up(self) -> None:
        """Until every host that answers has sent what it had: its first sign of life comes after that."""
        assert self._following is not None, "launch or attach comes first"
        await self._following.caught_up()

    async def stop(self, reason: str) -> Ended:
        """End the run on every host; returns once each has said how many processes are left, or did not answer.

        Before there is anything to follow, that is every host of the cluster; a start that was broken off has left
        nothing running there.
        """
        self._may_change()
        self._stopping = True
        self._note(f"stopping: {reason}", kind="stopping")
        following = self._following
        if following is None:
            hosts = [host.name for host in self._cluster.hosts]
            silent = () if self._launched else await self._stop_hosts(hosts, reason)
            states = dict.fromkeys((name for name in hosts if name not in silent), "stopped")
            summary = final_summary(self.run, None, states, hosts, stopping=True)
            return Ended(state="stopped", summary=summary, unanswered=silent)
        following.stopping = True
        try:
            self._unanswered = await self._stop_hosts(following.hosts, reason)
        finally:
            following.stopped.set()
        for name in self._unanswered:
            self._note(f"{name} did not answer the stop: processes may be left there", "error")
            following.give_up(name)
        return await self.wait()

    async def join(self, name: str) -> None:
        """Bring a host of cluster.toml, as it is now, into the run: a new one, or one that it lost or that was taken
        out. Returns once its ranks are started; they join at the end of a step.

        Raises CheckFailed with all findings, ConfigError, UsageError or a HostError: then nothing was started.
        """
        following = self._under_way()
        host = named_in(self._cluster, name)
        await self._hosts.put(host)
        joined = await bring_in(self._verbs, self.run, following.leader, host, knows=self._knows, emit=self._emit)
        for finding in joined.warnings:
            self._note(f"{finding.host}: {finding.cause}. {finding.remedy}", "warning")
        if self._layout is not None and joined.members:
            self._lay_out(placement.joined(self._layout, host, joined.members))
        following.follow(name)
        what = "comes back" if joined.back else "is new"
        self._note(f"{name} {what}: its ranks start, get the state from the others, and join at the end of a step")

    async def drop(self, name: str) -> bool:
        """Take a host out of the run; the others go on. Returns whether the host said that no process is left there.

        Raises UsageError when it can't be taken out, a HostError when the host that leads can't be asked.
        """
        following = self._under_way()
        await self._verbs.drop(following.leader, self.run, name)
        if name not in following.hosts:
            return False
        return not await self._stop_hosts([name], "motley drop")

    def _may_change(self) -> None:
        """Raises UsageError when this console only watches."""
        if self._readonly:
            raise UsageError(f"this console only watches {self.run}: attach without --readonly to change it")

    def _under_way(self) -> Following:
        self._may_change()
        if self._following is None or self._stopping:
            raise UsageError(f"{self.run} is not under way: nobody can join or leave it")
        return self._following

    async def close(self) -> None:
        """Leave. The run goes on."""
        await end(self._tasks)
        if self._following is not None:
            await self._following.close()
        if self._harvest is not None:
            await self._harvest.close()
        if self._experiment is not None:
            try:
                self._experiment.close()
            except RunFailed as error:
                self._warn(str(error))
        if not self._lent:
            await self._hosts.close()

    async def _abandon(
        self, starting: asyncio.Future[dict[str, HostError]], reason: str, *, stopped: bool = False
    ) -> tuple[str, ...]:
        """A start that failed leaves nothing running, and an experiment that says so. Returns who did not answer.

        A start under way is awaited first: a stop that overtakes it would find nothing to stop.
        """
        failed = await starting
        hosts = [host.name for host in self._cluster.hosts]
        begun = [name for name in hosts if not isinstance(failed.get(name), StartRefused)]
        return await self._end_start(begun, reason, "stopped" if stopped else "failed")

    async def _end_start(self, begun: Iterable[str], reason: str, state: str) -> tuple[str, ...]:
        """Stop what may have begun, and say in the experiment that nothing came of it. Returns who did not answer."""
        unanswered = await self._stop_hosts(begun, reason)
        assert self._experiment is not None
        self._note(f"not started: {reason}", "error")
        hosts = [host.name for host in self._cluster.hosts]
        states = dict.fromkeys((name for name in hosts if name not in unanswered), state)
        summary = {**final_summary(self.run, None, states, hosts, stopping=state == "stopped"), "cause": reason}
        self._experiment.write_whole("summary.json", pretty(summary))
        self._experiment.close()
        return unanswered

    async def _checkpoint_of(self, old: str, checked: CheckResult) -> str:
        """The folder on the leader with the old run's checkpoints, brought there from here when it has none."""
        folder = experiments_folder(self._cluster) / old
        await bring_checkpoint(self._verbs, self._leader, old, hosts=checked.probes, experiment=folder)
        return f"{checked.probes[self._leader].home}/.motley/runs/{old}/{self._leader}/checkpoints"

    def _keep(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._harvest = Harvest(self._verbs, self.run, experiment, say=self._warn)

    def _reform(self, lead: Lead | None = None) -> Reform:
        order = [host.name for host in self._cluster.hosts]
        return Reform(self._verbs, self.run, order=order, port=self._cluster.coordinator_port, lead=lead)

    def _follow(self, names: Iterable[str], reform: Reform, *, revive: bool = True) -> None:
        assert self._experiment is not None
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        self._following = Following(
            self._verbs, self.run, self._leader, self._experiment, reform,
            emit=self._emit, note=self._note, stop=self._stop_hosts,
        )  # fmt: skip
        self._following.revives = revive
        self._following.acts = not self._readonly
        self._following.start(names)
        self._tasks.append(loop.create_task(self._watch(self._following, self._ended)))

    async def _watch(self, following: Following, ended: asyncio.Future[Ended]) -> None:
        """Wait for every host's end, and say how the run ended; or what keeps this console from following it."""
        try:
            committing = asyncio.ensure_future(self._commit_regularly())
            try:
                await following.until_over(committing)
            finally:
                await end([committing])
            result = await self._bring_home(following)
            record = Ended(state=str(result["state"]), summary=result, unanswered=self._unanswered)
            self._emit(record)
            ended.set_result(record)
        except Exception as error:  # noqa: BLE001 - whoever waits for the end gets it
            ended.set_exception(error)

    async def _bring_home(self, following: Following) -> dict[str, Any]:
        """Fetch what the leader kept, and write the summary."""
        assert self._experiment is not None
        assert self._harvest is not None
        states = following.states()
        leader = following.leader
        summary = await self._harvest.summary(leader) if leader in states else None
        result = final_summary(self.run, summary, states, following.hosts, self._stopping)
        self._experiment.commit()
        loss = self._losses.of(int(result["steps"]), self._world_size)
        result["final_loss"] = result["final_loss"] if loss is None else loss
        if leader in states:
            await self._harvest.finish()
        self._experiment.write_whole("summary.json", pretty(result))
        self._experiment.commit()
        return result

    async def _stop_hosts(self, names: Iterable[str], reason: str) -> tuple[str, ...]:
        bound_s = self._cluster.run.stop_grace_s + STOP_BOUND_S
        return await stop_all(self._verbs, self.run, names, self._emit, reason=reason, bound_s=bound_s)

    async def _commit_regularly(self) -> None:
        assert self._experiment is not None
        while True:
            await asyncio.sleep(COMMIT_S)
            self._experiment.commit()

    def _emit(self, record: FeedRecord) -> None:
        if isinstance(record, Progress) and record.stage == "connect" and record.done:
            self._connected_at = time.monotonic()
        if isinstance(record, Sample):
            self._losses.hear(record)
        if isinstance(record, Event) and self._harvest is not None:
            self._harvest.hear(record)
        if isinstance(record, Event) and record.kind == "group":
            self._world_size = len(record.data.get("members") or ()) or self._world_size
        self._emit_to(record)

    def _lay_out(self, layout: Layout) -> None:
        self._layout, self._world_size = layout, len(layout.ranks)
        self._emit(layout)

    def _note(self, text: str, level: Any = "info", *, kind: str = "note") -> None:
        event = Event(time=time.time(), host="console", source="console", kind=kind, text=text, level=level)
        if self._experiment is not None:
            self._experiment.note(event)
        self._emit_to(event)

    def _warn(self, text: str) -> None:
        self._note(text, "warning")

"""The life of a run, as the master sees it: check, push, start, follow, stop. Owns the experiment folder.

    session = Session(cluster, "night", emit=store.apply)
    await session.launch()             # returns once ranks are started everywhere; or raises, with nothing started
    ended = await session.wait()       # follows until the end state
    await session.close()              # leaves; the run goes on

SSH is a viewer and a command path: closing a session, or losing its connections, changes nothing for the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from remote import placement
from remote.check import CheckResult, check
from remote.cluster import Cluster, check_run_name
from remote.errors import CheckFailed, Finding, HostError, RunFailed, UsageError
from remote.experiment import Experiment
from remote.feed import Ended, FeedRecord, Progress
from remote.follow import Follower
from remote.harvest import Harvest, bring_checkpoint, final_summary, pretty
from remote.hosts import Hosts
from remote.push import Tree, push
from remote.verbs import Verbs
from trainer.spec import Member, Spec
from trainer.wire import Event

COMMIT_S = 0.5
STOP_BOUND_S = 25.0  # beyond the grace: the supervisor's own bounds
LAST_WORDS_S = 15.0  # after the leader has ended, other hosts have this long to be read to their end


def experiments_folder(cluster: Cluster) -> Path:
    """`experiments/` beside cluster.toml."""
    return cluster.path.absolute().parent / "experiments"


class Session:
    """One run of one cluster, from one console."""

    def __init__(self, cluster: Cluster, run: str, *, emit: Callable[[FeedRecord], None]) -> None:
        check_run_name(run)
        self.run = run
        self.folder = experiments_folder(cluster) / run
        self._cluster = cluster
        self._emit_to = emit
        self._hosts = Hosts(cluster)
        self._verbs = Verbs(self._hosts, Tree.installed())
        self._experiment: Experiment | None = None
        self._harvest: Harvest | None = None
        self._followers: dict[str, Follower] = {}
        self._leader = cluster.leader
        self._world_size = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._ended: asyncio.Future[Ended] | None = None
        self._stopping = False
        self._unanswered: tuple[str, ...] = ()
        self._connected_at = 0.0

    async def launch(self, *, resume: str | None = None) -> None:
        """Check, push and start. `resume` names the run whose newest checkpoint to go on from.

        Raises CheckFailed with all findings, UsageError for a name in use, RunFailed when a host could not start its
        part: then nothing is left running anywhere.
        """
        began = time.monotonic()
        if self.folder.exists():
            raise UsageError(f"{self.folder} is there already: choose another name with --name")
        checked = await check(self._hosts, self._emit)
        members = self._judge(checked)
        connected = time.monotonic()
        pushing = [self._push(host.name, checked) for host in self._cluster.hosts]
        await asyncio.gather(*pushing)
        pushed = time.monotonic()
        checkpoint = await self._checkpoint_of(resume, checked) if resume else None
        self._experiment = Experiment.create(self.folder, self._cluster.text)
        self._world_size = len(members)
        self._emit(placement.layout(self._cluster, self.run, members))
        for finding in checked.findings:
            self._note(f"{finding.host}: {finding.cause}. {finding.remedy}", "warning")
        token = secrets.token_hex(32)
        phases = {"connect_s": max(0.0, (self._connected_at or connected) - began), "push_s": pushed - connected}
        specs = [
            placement.spec_for(
                self._cluster, self.run, host, members, token=token, leader_address=checked.leader_address,
                before_s=time.monotonic() - began, phases=phases, resume=checkpoint,
            )
            for host in self._cluster.hosts
        ]  # fmt: skip
        try:
            outcomes = await asyncio.gather(*(self._start(s, checked) for s in specs), return_exceptions=True)
        except asyncio.CancelledError:
            await asyncio.shield(self._abandon("the start was broken off"))
            raise
        failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if failed:
            await self._abandon("another host could not start")
            raise RunFailed("\n".join(str(error) for error in failed)) from failed[0]
        self._follow([host.name for host in self._cluster.hosts])

    async def attach(self) -> None:
        """Find the run on the hosts and follow it from where the experiment folder ends, or from its beginning.

        Raises UsageError when no host that answers knows the run.
        """
        outcomes = await self._hosts.connect(self._emit)
        found = await asyncio.gather(*(self._known(n) for n, o in outcomes.items() if not isinstance(o, HostError)))
        table = next((run for run in found if run is not None), None)
        if table is None:
            silent = [n for n, o in outcomes.items() if isinstance(o, HostError)]
            extra = f"; no answer from {', '.join(silent)}" if silent else ""
            raise UsageError(f"no host knows a run named {self.run}{extra}: `motley status` lists what there is")
        self._leader = str(table["leader"])
        self._experiment = Experiment.open(self.folder)
        if self._experiment.writable and not (self.folder / "cluster.toml").exists():
            (self.folder / "cluster.toml").write_text(self._cluster.text, encoding="utf-8")
        layout = placement.layout_of(table)
        self._world_size = len(layout.ranks)
        self._emit(layout)
        for record in self._experiment.replay():
            self._emit(record)
        hosts = dict.fromkeys(rank.host for rank in layout.ranks)
        unknown = [name for name in hosts if name not in outcomes]
        if unknown:
            raise UsageError(f"{self.run} also runs on {', '.join(unknown)}, which this cluster.toml does not have")
        self._follow(hosts)

    async def wait(self) -> Ended:
        """The end of the run, once every host has been read to its end."""
        assert self._ended is not None, "launch or attach comes first"
        return await asyncio.shield(self._ended)

    async def caught_up(self) -> None:
        """Until every host that answers has sent what it had: its first sign of life comes after that."""
        live = asyncio.gather(*(follower.live.wait() for follower in self._followers.values()))
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(live, LAST_WORDS_S)

    async def stop(self, reason: str) -> Ended:
        """End the run on every host; returns once each has said how many processes are left, or did not answer."""
        self._stopping = True
        self._note(f"stopping: {reason}", kind="stopping")
        self._unanswered = await self._stop_hosts(list(self._followers), reason)
        for name in self._unanswered:
            self._note(f"{name} did not answer the stop: processes may be left there", "error")
        return await self.wait()

    async def close(self) -> None:
        """Leave. The run goes on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._harvest is not None:
            await self._harvest.close()
        if self._experiment is not None:
            self._experiment.close()
        await self._hosts.close()

    async def _abandon(self, reason: str) -> None:
        """A start that failed leaves nothing running, and an experiment that says so."""
        hosts = [host.name for host in self._cluster.hosts]
        unanswered = await self._stop_hosts(hosts, reason)
        assert self._experiment is not None
        self._note(f"not started: {reason}", "error")
        states = dict.fromkeys((name for name in hosts if name not in unanswered), "failed")
        summary = final_summary(self.run, None, states, hosts, stopping=False)
        self._experiment.write_whole("summary.json", pretty(summary))
        self._experiment.close()

    def _judge(self, checked: CheckResult) -> tuple[Member, ...]:
        findings = list(checked.findings)
        members: tuple[Member, ...] = ()
        if checked.ok:
            members = placement.place(self._cluster, checked.probes)
            findings += placement.misfits(self._cluster, members)
        if any(f.level == "error" for f in findings):
            raise CheckFailed(findings)
        return members

    async def _push(self, name: str, checked: CheckResult) -> None:
        try:
            connection = await self._hosts.get(name)
            python = checked.probes[name].executable
            await push(connection, python, self._verbs.tree, self._emit, there=checked.probes[name].code)
        except HostError as error:
            raise CheckFailed([Finding(name, "push", "error", error.cause, error.remedy)]) from error

    async def _start(self, spec: Spec, checked: CheckResult) -> None:
        probe = checked.probes[spec.host]
        self._emit(Progress(host=spec.host, stage="start", text="starting ranks"))
        folder = f"{probe.home}/.motley/runs/{self.run}/{spec.host}"
        try:
            await self._verbs.supervise(spec, probe.executable, folder)
        except HostError as error:
            self._emit(Progress(host=spec.host, stage="start", text=error.cause, done=True, failed=True))
            raise
        self._emit(Progress(host=spec.host, stage="start", text="ranks started", fraction=1.0, done=True))

    async def _checkpoint_of(self, old: str, checked: CheckResult) -> str:
        """The folder on the leader with the old run's checkpoints, brought there from here when it has none."""
        await bring_checkpoint(self._verbs, self._leader, old, experiments_folder(self._cluster) / old)
        return f"{checked.probes[self._leader].home}/.motley/runs/{old}/{self._leader}/checkpoints"

    async def _known(self, name: str) -> dict[str, Any] | None:
        try:
            runs = await self._verbs.status(name)
        except HostError as error:
            self._note(f"{name}: {error.cause}", "warning")
            return None
        return next((run for run in runs if run.get("run") == self.run), None)

    def _follow(self, names: Iterable[str]) -> None:
        assert self._experiment is not None
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        self._harvest = Harvest(self._verbs, self.run, self._leader, self._experiment)
        self._followers = {
            name: Follower(name, self.run, verbs=self._verbs, experiment=self._experiment, emit=self._emit)
            for name in names
        }
        self._tasks += [loop.create_task(self._watch()), loop.create_task(self._commit_regularly())]

    async def _watch(self) -> None:
        """Wait for every host's end, fetch what the leader kept, and say how it ended."""
        assert self._experiment is not None
        assert self._harvest is not None
        assert self._ended is not None
        following = {name: asyncio.create_task(f.run(), name=name) for name, f in self._followers.items()}
        try:
            leader = following[self._leader]
            while not leader.done() and not self._all_but_unanswered(following):
                running = [task for task in following.values() if not task.done()]
                await asyncio.wait(running, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
            if not self._all_but_unanswered(following):
                await asyncio.wait(following.values(), timeout=LAST_WORDS_S)
            states = {name: task.result() for name, task in following.items() if task.done()}
            summary = await self._harvest.summary() if self._leader in states else None
            result = final_summary(self.run, summary, states, list(self._followers), self._stopping)
            self._experiment.commit()
            loss = self._experiment.global_loss(int(result["steps"]), self._world_size)
            result["final_loss"] = result["final_loss"] if loss is None else loss
            await self._harvest.finish()
            self._experiment.write_whole("summary.json", pretty(result))
            self._experiment.commit()
            ended = Ended(state=str(result["state"]), summary=result, unanswered=self._unanswered)
            self._emit(ended)
            self._ended.set_result(ended)
        except BaseException as error:
            if not self._ended.done() and not isinstance(error, asyncio.CancelledError):
                self._ended.set_exception(error)
            raise
        finally:
            for task in following.values():
                task.cancel()

    def _all_but_unanswered(self, following: dict[str, asyncio.Task[str]]) -> bool:
        return all(task.done() or name in self._unanswered for name, task in following.items())

    async def _stop_hosts(self, names: list[str], reason: str) -> tuple[str, ...]:
        """Stop on all hosts at once. Returns those that did not answer, or still have processes."""
        bound = self._cluster.run.stop_grace_s + STOP_BOUND_S

        async def one(name: str) -> bool:
            self._emit(Progress(host=name, stage="stop", text="stopping"))
            try:
                answer = await self._verbs.stop(name, self.run, reason=reason, timeout_s=bound)
            except HostError as error:
                self._emit(Progress(host=name, stage="stop", text=error.cause, done=True, failed=True))
                return False
            text = f"stopped, left={answer.left}"
            self._emit(Progress(host=name, stage="stop", text=text, done=True, failed=answer.left > 0))
            return answer.left == 0

        answers = await asyncio.gather(*(one(name) for name in names))
        return tuple(name for name, ok in zip(names, answers, strict=True) if not ok)

    async def _commit_regularly(self) -> None:
        assert self._experiment is not None
        while True:
            await asyncio.sleep(COMMIT_S)
            self._experiment.commit()

    def _emit(self, record: FeedRecord) -> None:
        if isinstance(record, Progress) and record.stage == "connect" and record.done:
            self._connected_at = time.monotonic()
        if isinstance(record, Event) and record.kind == "checkpoint" and self._harvest is not None:
            self._harvest.checkpoint(record)
        self._emit_to(record)

    def _note(self, text: str, level: Any = "info", *, kind: str = "note") -> None:
        event = Event(time=time.time(), host="console", source="console", kind=kind, text=text, level=level)
        if self._experiment is not None:
            self._experiment.note(event)
        self._emit_to(event)

"""The start of a run on all hosts of a cluster: check, push, start; or nothing of it is left anywhere.

launch = Launch(cluster, "night", folder, verbs=verbs, logbook=logbook, knows=knows, ask=ask, stop=stop)
spec = await launch.start(resume=None)      # of the host that leads; ranks are started everywhere
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from motley.remote.config.cluster import Cluster
from motley.remote.config.command_line import check_resume
from motley.remote.config.resume_from import ResumeFrom
from motley.remote.config.schema import nearest
from motley.remote.errors import HostError, RunFailed, StartRefused, UsageError
from motley.remote.experiment.experiment_writer import ExperimentWriter
from motley.remote.experiment.folder import Experiment
from motley.remote.experiment.result_frames import GIB
from motley.remote.experiment.results import files_of
from motley.remote.launch import placement, resume_words
from motley.remote.launch.all_hosts import having, start_all
from motley.remote.launch.prepare_hosts import looked_over, members_of, supplied
from motley.remote.launch.prestart import Prestart
from motley.remote.launch.resume_checkpoint import bring_checkpoint, bring_file, was_session
from motley.remote.launch.resume_results import results_of
from motley.remote.preflight.check import CheckResult
from motley.remote.provision.data import folder_of
from motley.remote.provision.local_folder import Folder
from motley.remote.provision.project import UserCode, project_of
from motley.remote.provision.push_folder import amount
from motley.remote.rpc.verbs import Verbs
from motley.remote.ssh.new_host_keys import Ask
from motley.trainer.contract.result_patterns import TIMES
from motley.trainer.contract.spec import Member, Spec

Stop = Callable[[Iterable[str], str], Awaitable[tuple[str, ...]]]  # hosts, reason: those that did not answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What a run has left to go on from: a `state` of ours in its checkpoints, and `results` of its script."""

    has_state: bool = True
    results: Folder | None = None


def going_on(user_code: UserCode | None, results: Folder | None) -> UserCode | None:
    """The same, whose script finds these results on its host."""
    if user_code is None or user_code.script is None or results is None:
        return user_code
    return replace(user_code, script=replace(user_code.script, resumed=f"~/{results.place}"))


class RunStart:
    """One attempt. `folder` is to be the experiment's; `stop` ends the run on hosts."""

    def __init__(
        self,
        cluster: Cluster,
        run: str,
        folder: Path,
        *,
        verbs: Verbs,
        logbook: ExperimentWriter,
        knows: placement.Knows,
        ask: Ask,
        stop: Stop,
        why_cold: str = "",
    ) -> None:
        self._cluster = cluster
        self._run = run
        self._folder = folder
        self._verbs = verbs
        self._logbook = logbook
        self._knows = knows
        self._ask = ask
        self._stop = stop
        cold = f"cold restart: {why_cold}"
        self._cold = logbook.note(cold, kind="cold_restart") if why_cold else None  # there is no experiment yet

    async def start(self, *, resume: str | None) -> Spec:
        """Raises what `Session.launch` says."""
        async with Prestart(self._verbs, self._verbs.hosts, self._run) as early:
            check_resume(resume)
            if self._folder.exists():
                raise UsageError(f"{self._folder} is there already: choose another name with --name")
            project, user_code = await asyncio.to_thread(project_of, self._cluster)
            data = await folder_of(self._cluster, self._logbook.emit)
            look = await looked_over(self._verbs.hosts, self._logbook.emit, self._ask, early=early)
            connected = time.monotonic()
            await self._is_new(look.checked)
            wanted = ResumeFrom.of(resume) if resume is not None else None
            before = Before()
            if wanted is not None and wanted.run:
                self._knows_of(wanted.run, look.checked)
                before = await self._before(wanted, look.checked)
            members = members_of(self._cluster, look.checked, self._knows)
            cluster = await supplied(
                self._verbs, look.checked, self._logbook.emit, project=project, data=data, results=before.results
            )
            phases = {
                "connect_s": max(0.0, (self._logbook.connected_at or connected) - look.checking),
                "push_s": time.monotonic() - connected,
            }
            state = wanted is not None and before.has_state
            checkpoint = await self._checkpoint_of(wanted, look.checked) if wanted is not None and state else None
            self._open(look.checked, members, wanted, before)
            token = secrets.token_hex(32)
            specs = [
                placement.spec_for(
                    cluster, self._run, host, members, token=token, leader_address=look.checked.leader_address,
                    before_s=time.monotonic() - look.began, phases=phases, resume=checkpoint,
                    user_code=going_on(user_code, before.results),
                    resume_of=self._goes_on_from(wanted),
                    python=look.checked.probes[host.name].executable,
                    container=self._verbs.hosts.container(host.name),
                )
                for host in self._cluster.hosts
            ]  # fmt: skip
            await self._start_ranks(specs, look.checked, early)
            return next(spec for spec in specs if spec.is_leader)

    async def _is_new(self, checked: CheckResult) -> None:
        """An older run of this name may hold the port, too."""
        perhaps = [name for name, probe in checked.probes.items() if self._run in probe.runs]  # a home may be shared
        if taken := await having(self._verbs, self._run, perhaps):
            raise UsageError(
                f"{', '.join(taken)} had a run named '{self._run}' already: choose another name with --name"
            )

    async def _before(self, wanted: ResumeFrom, checked: CheckResult) -> Before:
        """What there is of a run to go on from. A script goes on from what `motley.session()` has saved, and from
        results of its own. Raises UsageError for one that has left neither."""
        script, old, here = self._cluster.run.program, wanted.run, self._folder.with_name(wanted.run)
        if script is None:
            return Before()
        session = await was_session(self._verbs, old, checked.probes, here)
        most = int(self._cluster.run.results_gib * GIB)
        results = None
        if not wanted.checkpoint:
            results = await results_of(self._verbs, old, here, checked.probes, most=most, note=self._logbook.warn)
        if not session and results is None:
            raise UsageError(
                f"--resume {old}: '{old}' has left no results, here or on the hosts, and its script did not call "
                f"motley.session(): the script {script} has nothing to go on from. [run] results names what it writes "
                "and is to be kept, for the next time (docs/script.md)"
            )
        return Before(has_state=session, results=results)

    def _knows_of(self, old: str, checked: CheckResult) -> None:
        """Before anything else is said or done: the name may be a slip. A host that does not answer may know better."""
        here = self._folder.with_name(old)
        silent = [host for host in self._cluster.hosts if host.name not in checked.probes]
        if silent or here.exists() or any(old in probe.runs for probe in checked.probes.values()):
            return
        runs = sorted({run for probe in checked.probes.values() for run in probe.runs})
        known = f": {nearest(old, runs)}" if runs else ", and no run at all"
        raise UsageError(f"--resume '{old}': neither the hosts nor {here.parent} have a run of that name{known}")

    def _open(
        self, checked: CheckResult, members: tuple[Member, ...], wanted: ResumeFrom | None, before: Before
    ) -> None:
        """From here on there is an experiment."""
        self._logbook.keep(Experiment.create(self._folder, self._cluster.text), self._verbs)
        self._logbook.lay_out(placement.layout(self._cluster, self._run, members))
        if self._cold is not None:
            self._logbook.experiment.note(self._cold)
        if wanted is not None and wanted.file is not None:
            self._logbook.note(resume_words.said(wanted))
        elif wanted is not None and before.results is not None:
            which = (
                f"{files_of(sum(file.path != TIMES for file in before.results.files))}, {amount(before.results.bytes)}"
            )
            self._logbook.note(
                f"goes on from the results of '{wanted.run}', those of {before.results.root.name}: {which}"
            )
        if wanted is not None and wanted.file is None and before.has_state:
            self._logbook.note(resume_words.said(wanted))
        for finding in checked.findings:
            self._logbook.warn(f"{finding.host}: {finding.cause}. {finding.remedy}")
        if words := placement.first_words(members, self._cluster):
            self._logbook.note(words, kind="first_shares")

    async def _checkpoint_of(self, wanted: ResumeFrom, checked: CheckResult) -> str:
        """On the leader: the folder with the old run's checkpoints, the newest good one of all hosts among them; or
        the one that is asked for."""
        leader = self._cluster.leader
        runs = f"{checked.probes[leader].home}/.motley/runs"
        if wanted.file is not None:
            name = await bring_file(self._verbs, leader, self._run, wanted.file)
            return f"{runs}/{self._run}/{leader}/checkpoints/{name}"
        experiment = self._folder.with_name(wanted.run)
        name = await bring_checkpoint(self._verbs, leader, wanted, checked.probes, experiment, self._logbook.warn)
        folder = f"{runs}/{wanted.run}/{leader}/checkpoints"
        return f"{folder}/{name}" if wanted.checkpoint else folder

    def _goes_on_from(self, wanted: ResumeFrom | None) -> str:
        """The run whose state this one begins with; of a file that is in no experiment here its path."""
        if wanted is None or wanted.file is None:
            return wanted.run if wanted is not None else ""
        file = wanted.file.absolute()
        run = file.parent.parent
        return run.name if (file.parent.name, run.parent) == ("checkpoints", self._folder.parent) else str(wanted.file)

    async def _start_ranks(self, specs: list[Spec], checked: CheckResult, early: Prestart) -> None:
        starting = asyncio.ensure_future(start_all(self._verbs, specs, checked.probes, self._logbook.emit, early))
        try:
            failed = await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.shield(self._abandon(starting, "the start was broken off", stopped=True))
            raise
        if failed:
            unanswered = await asyncio.shield(self._abandon(starting, f"{', '.join(failed)} could not start"))
            left = [f"{name}: no answer to the stop, ranks may run on there." for name in unanswered]
            raise RunFailed("\n".join([*map(str, failed.values()), *left]))

    async def _abandon(
        self, starting: asyncio.Future[dict[str, HostError]], reason: str, *, stopped: bool = False
    ) -> tuple[str, ...]:
        """A start that failed leaves nothing running, and an experiment that says so. Returns who did not answer.

        A start under way is awaited first: a stop that overtakes it would find nothing to stop.
        """
        failed = await starting
        hosts = [host.name for host in self._cluster.hosts]
        begun = [name for name in hosts if not isinstance(failed.get(name), StartRefused)]
        return await end_start(self._logbook, self._stop, hosts, begun, reason, stopped=stopped)


async def end_start(
    logbook: ExperimentWriter, stop: Stop, hosts: list[str], begun: Iterable[str], reason: str, *, stopped: bool = False
) -> tuple[str, ...]:
    """Stop what may have `begun`, and say in the experiment that nothing came of it. Returns who did not answer."""
    unanswered = await stop(begun, reason)
    answered = [name for name in hosts if name not in unanswered]
    logbook.not_started(reason, dict.fromkeys(answered, "stopped" if stopped else "failed"), hosts, stopped=stopped)
    return unanswered

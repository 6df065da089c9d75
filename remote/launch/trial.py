"""Whether the run's own task works on the hosts, each alone: `motley check`, and more with `--train`.

Only a host has the torch that reads a task of the user's own: each imports its file, finds the class and checks
`[task]` against it. With `train` every device does two real steps of whatever the run trains, with as many samples as
it may get, or runs the script for a while where that calls no `motley.session()`, all hosts at the same time
(`trainer.verbs.trial`).

    >>> trials = Trials(print, train=True)
    >>> await preflight(cluster, print, further=trials, make=True)
    ()
    >>> trials.tried[0].step_ms, trials.tried[0].memory_mib
    (35.2, 412)
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from motley.remote.answers import Answer, made, using
from motley.remote.config.cluster import Cluster
from motley.remote.errors import OVERLOADED, CheckFailed, CommandFailed, Finding, HostError
from motley.remote.feed import Progress
from motley.remote.hosts.pool import Emit, Hosts
from motley.remote.launch.all_hosts import push_all
from motley.remote.launch.calibrate import request
from motley.remote.launch.placement import place
from motley.remote.launch.prepare_hosts import supplied
from motley.remote.launch.trainer_conversation import no_answer, remedy_of, said, trainer
from motley.remote.preflight.check import CheckResult
from motley.remote.provision.data import folder_of
from motley.remote.provision.project import UserCode, project_of
from motley.remote.provision.push_code import Tree
from motley.remote.rpc.verbs import Verbs
from motley.trainer.contract.calibration import Calibration
from motley.trainer.contract.spec import Member

Level = Literal["error", "warning"]
STEPS = 2
MADE_S = 120.0  # for a host to make the task: importing torch takes most of it
TRIED_S = 300.0  # for data to be read, or fetched, and the steps
NOT_THERE = ("environment", "container")  # checks that warn of what a run brings: nothing can be tried before


@dataclass(frozen=True, slots=True, kw_only=True)
class _Steps:
    steps: int
    samples: int
    first_ms: float
    step_ms: float
    pass_limit: int | None
    memory_mib: int
    total_mib: int | None
    fits: str
    expected_mib: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    seconds: float
    ended: bool
    memory_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One device that worked. `steps` is None for a script without a session, which has `seconds` in their place."""

    host: str
    device: str
    memory_mib: int  # the most in use: of a GPU's memory, or of one process
    total_mib: int | None = None  # of a GPU
    steps: int | None = None
    samples: int = 0  # of each step
    max_batch: int | None = None
    first_ms: float = 0.0
    step_ms: float = 0.0  # of the last one
    pass_limit: int | None = None  # the most samples that fitted at once, where that was fewer
    fits: str = ""  # of a language model: what does, by its sizes
    expected_mib: int = 0  # of a language model: for one row of `length` tokens
    length: int = 0
    script: str = ""
    seconds: float = 0.0
    ended: bool = False  # it came to its own end

    def as_dict(self) -> dict[str, Any]:
        """As `--json` prints it, without what does not concern it."""
        left_out: tuple[str, ...] = ("samples", "first_ms", "step_ms", "pass_limit", "max_batch", "total_mib")
        others = left_out if self.steps is None else ("script", "seconds", "ended")
        others += () if self.fits else ("fits", "expected_mib", "length")
        return {name: value for name, value in asdict(self).items() if name not in others}


class Trials:
    """What `preflight` calls when the hosts are in order so far; `tried` fills as devices are done."""

    def __init__(self, emit: Emit, *, train: bool, tree: Tree | None = None) -> None:
        self.tried: list[Tried] = []
        self.began = False
        self._emit = emit
        self._train = train
        self._tree = tree

    async def __call__(self, hosts: Hosts, checked: CheckResult) -> list[Finding]:
        """A finding for each host or device on which it does not work. Raises ConfigError as `project_of` does."""
        cluster = hosts.cluster
        if not self._train and cluster.own_task is None and cluster.included is None:
            return []
        self.began = True
        verbs = Verbs(hosts, self._tree or Tree.installed())
        project, user_code = await asyncio.to_thread(project_of, cluster)
        members = place(cluster, checked.probes)
        if self._train:
            try:
                data = await folder_of(cluster, self._emit)
                cluster = await supplied(verbs, checked, self._emit, project=project, data=data)
            except CheckFailed as error:
                return [finding for finding in error.findings if finding not in checked.findings]
        else:
            members = one_each(cluster, checked, members)
            probes = {member.host: checked.probes[member.host] for member in members}
            if unable := await push_all(verbs, probes, self._emit, project):
                return unable
        asked = [self._asked(verbs, cluster, members, member, user_code) for member in members]
        found = await asyncio.gather(*(self._one(verbs, *pair) for pair in zip(members, asked)))
        self.tried.sort(key=lambda one: [member.host for member in members].index(one.host))
        return [finding for finding in found if finding is not None]

    def _asked(
        self, verbs: Verbs, cluster: Cluster, members: Sequence[Member], member: Member, user_code: UserCode | None
    ) -> Calibration:
        host = next(host for host in cluster.hosts if host.name == member.host)
        asked = request(
            cluster, host, member, verbs.hosts.container(member.host),
            devices=sum(other.host == member.host for other in members), ranks=len(members),
            speeds=sum(other.speed or 0.0 for other in members if other.device == member.device),
        )  # fmt: skip
        return replace(
            asked,
            share=samples_of(cluster, members, member),
            steps=STEPS if self._train else 0,
            own_task=user_code.own_task if user_code is not None else None,
            script=user_code.script if user_code is not None else None,
        )

    async def _one(self, verbs: Verbs, member: Member, asked: Calibration) -> Finding | None:
        host, device = member.host, member.device
        check = "train" if self._train else "task"
        where = f"{device}: " if asked.devices > 1 else ""
        bound_s = TRIED_S if self._train else MADE_S
        try:
            answer = await asyncio.wait_for(self._conversation(verbs, member, asked), bound_s)
            if not self._train:
                return None
            tried = _tried(member, asked, answer)
        except asyncio.TimeoutError:
            level: Level = "error" if self._train else "warning"
            cause = f"{where}the host had not {'done it' if self._train else 'made the task'} after {bound_s:g} s"
            return Finding(host, check, level, cause, OVERLOADED)
        except HostError as error:
            self._emit(Progress(host=host, stage="check", text=error.cause, done=True, failed=True))
            return Finding(host, check, "error", f"{where}{error.cause}", error.remedy)
        self.tried.append(tried)
        self._emit(Progress(host=host, stage="check", text=f"{device}: tried", fraction=1.0, done=True))
        if tried.pass_limit is None:
            return None
        cause = f"{where}{tried.samples} samples do not fit into its memory at once: {tried.pass_limit} do"
        remedy = f"It trains in parts, which takes longer; max_batch = {tried.pass_limit} gives it no more."
        return Finding(host, check, "warning", cause, remedy)

    async def _conversation(self, verbs: Verbs, member: Member, asked: Calibration) -> Answer:
        """The line with the result. Raises CommandFailed with what the host said instead."""
        host = member.host
        async with trainer(verbs, host, "trial") as process:
            await process.write(asked.to_json().encode() + b"\n")
            async for line in process.lines():
                table = said(host, "trial", line)
                if "error" in table:
                    raise CommandFailed(host, table.text("error"), remedy_of(table))
                if "result" in table:
                    return table
                if "note" in table:
                    text = f"{member.device}: {table['note']}"
                    self._emit(Progress(host=host, stage="check", text=text))
            raise await no_answer(host, process, "the task could not be tried", "Report this.")


def one_each(cluster: Cluster, checked: CheckResult, members: Sequence[Member]) -> tuple[Member, ...]:
    """Of each host one rank, of all demo hosts, which are one machine with one Python, one; none of a host that has
    nothing to run it with yet."""
    demo = {host.name for host in cluster.hosts if host.way.emulated}
    waiting = {finding.host for finding in checked.findings if finding.check in NOT_THERE}
    found: dict[str, Member] = {}
    for member in members:
        if member.host not in waiting:
            found.setdefault("" if member.host in demo else member.host, member)
    return tuple(found.values())


def samples_of(cluster: Cluster, members: Sequence[Member], member: Member) -> int:
    """What a device is tried with: the share that cluster.toml gives it, the most that it may get, or an equal part."""
    shares, batch = cluster.balance.shares, cluster.run.global_batch
    if cluster.balance.policy == "static" and len(shares) == len(members):
        return max(1, shares[list(members).index(member)])
    return min(member.max_batch or -(-batch // len(members)), batch)


def _tried(member: Member, asked: Calibration, answer: Answer) -> Tried:
    """Raises CommandFailed for figures that are none."""
    with using(member.host, "trial"):
        result = answer["result"]
        if not isinstance(result, dict):
            raise TypeError("result is no table")
        if asked.script is not None and result.get("steps") is None:
            run = made(_Run, result)
            return Tried(host=member.host, device=member.device, script=asked.script.name, **asdict(run))
        steps = made(_Steps, {"fits": "", "expected_mib": 0, "length": 0, **result})
        return Tried(host=member.host, device=member.device, max_batch=member.max_batch, **asdict(steps))

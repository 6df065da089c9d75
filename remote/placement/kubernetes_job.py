"""The job that has the pods of a run: made of manifests by kubectl, waited for, found again by its name, deleted and
seen to be gone.

>>> job = KubernetesJob(cluster, "night")
>>> placed = await job.place(say, manifests)     # its pods run, and start the run by themselves
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from motley.remote.config.cluster import Cluster
from motley.remote.errors import HostError, RunFailed, UsageError
from motley.remote.hosts.kubectl import Kubectl, refused
from motley.remote.hosts.pods import LABEL, Seen, by_number, of_run, seen, troubles
from motley.remote.placement.kubernetes_claims import delete_claims
from motley.remote.placement.kubernetes_hosts import cut, noted, numbered
from motley.remote.placement.kubernetes_rights import NO_EXEC, check_cluster, may_command, resource_of
from motley.remote.placement.kubernetes_silence import Silence
from motley.remote.placement.kubernetes_state import never_begins, state_of, waiting
from motley.remote.placement.manifests import Manifests, none
from motley.remote.placement.slurm_queue import State
from motley.remote.sanitize import clean

LOOK_S, LOOK_MOST_S = 1.0, 5.0  # between two looks at the pods
APPLY_S = 120.0  # for the cluster to take the manifests
END_S = 60.0  # for pods to be gone, besides what they are given to stop
_IS_TRAINJOB = re.compile("^kind: TrainJob$", re.MULTILINE)
QUIET_LOOKS = 3  # without a pod, until it is told of

Say = Callable[[str], object]
Table = Mapping[str, Any]


class KubernetesJob:
    """Of one run. What it is in the cluster follows from `[kubernetes] kind`."""

    def __init__(self, cluster: Cluster, run: str) -> None:
        self._cluster, self._run = cluster, run
        self._kubectl = Kubectl(cluster.kubernetes)
        self._resource = resource_of(cluster.kubernetes.kind)
        self._claims: list[str] = []  # made for this run, and of no other before
        self._there = False  # something of it is, or may be, in the cluster
        self._commands = True  # can be run in its pods

    async def place(self, say: Say, manifests: Manifests = none) -> Cluster:
        """Raises as `Placement.place` says."""
        text = manifests()
        self._commands = await check_cluster(self._kubectl, self._cluster, say)
        if not self._commands:
            say(". ".join(NO_EXEC))
            text = manifests(commanded=False)
        await self._check_name()
        await self._try(text)
        try:
            await self._apply(text, say)
            await self._wait(say)
        except BaseException:
            # Also when it is cancelled: what was asked for is given back.
            await asyncio.shield(asyncio.ensure_future(self._take_back(say)))
            raise
        return self._placed()

    async def found(self, say: Say) -> Cluster:  # noqa: ARG002
        """Also one whose pods have ended: it is known by what they printed. Raises UsageError where there is none, or
        where it waits, and where cluster.toml lacks a host of it."""
        await self._kubectl.check_version()
        jobs, pods = await self._look()
        self._cluster = cut(self._cluster, self._run, jobs)
        self._there = bool(pods)
        phases = [pod.phase for pod in by_number(pods).values()]
        if "runs" not in phases and ("gone" not in phases or "waits" in phases):
            raise UsageError(self._nothing_to_follow(pods))
        self._commands = "runs" in phases and await may_command(self._kubectl)
        return self._placed()

    async def state(self) -> State:
        jobs, pods = await self._look()
        found, newest = state_of(self._names(), jobs, by_number(pods)), by_number(pods)
        if found.phase != "gone":
            return found
        return dataclasses.replace(found, says=f"{found.says}{await self._last_words(newest)}")

    async def is_anew(self) -> bool:
        return False  # a pod that is replaced is the same host

    async def again(self, say: Say) -> Cluster | None:  # noqa: ARG002
        return None

    async def accounts(self, say: Say) -> dict[str, Any]:  # noqa: ARG002
        return {}

    async def end(self, say: Say) -> str:
        """Deletes the job, and waits until the cluster has no pod of it. Never raises a HostError."""
        if not self._there:
            return ""
        try:
            return await self._delete(say)
        except HostError as error:
            return f"{self._resource} {self._run}: {error.cause}; {self._by_hand()} deletes it"

    async def abandon(self, say: Say) -> str:
        """The same: a name that is taken was refused before."""
        return await self.end(say)

    async def _take_back(self, say: Say) -> None:
        resources = [self._resource, *self._runtimes()]
        left = [await self.end(say), await delete_claims(self._kubectl, self._run, resources, self._claims)]
        for text in filter(None, left):
            self._tell(say, text)

    async def _check_name(self) -> None:
        """Raises UsageError for a name that is taken."""
        there = await self._kubectl.said("get", *self._objects(), "--ignore-not-found", "-o", "name")
        pods = await self._kubectl.said("get", "pods", "-l", of_run(self._run), "-o", "name")
        if taken := (there + pods).split():
            text = f"the cluster has a run '{self._run}' already ({clean(', '.join(taken))}): choose another name with"
            raise UsageError(f"{text} --name, or delete it: {self._by_hand()}")

    async def _try(self, text: str) -> None:
        """What the cluster would refuse of it, it refuses before anything is there: rights, rules, forms. A TrainJob is
        left out: it is refused as long as its runtime is not there. Raises RunFailed."""
        parts = [part for part in re.split("^---$", text, flags=re.MULTILINE) if not _IS_TRAINJOB.search(part)]
        words = ("apply", "--server-side", "--dry-run=server", "-f", "-")
        done = await self._kubectl.run(*words, stdin="---".join(parts).encode(), timeout_s=APPLY_S)
        if done.code:
            raise refused(done.stderr, "the cluster takes no such run")

    async def _apply(self, text: str, say: Say) -> None:
        """Raises RunFailed where something of it is refused."""
        before = set((await self._kubectl.said("get", "persistentvolumeclaims", "-o", "name")).split())
        self._there = True
        self._tell(say, "applying the manifests")
        words = ("apply", "--server-side", "-o", "name", "-f", "-")
        done = await self._kubectl.run(*words, stdin=text.encode(), timeout_s=APPLY_S)
        applied = done.stdout.decode(errors="replace").split()
        self._claims = [name for name in applied if name.startswith("persistentvolumeclaim/") and name not in before]
        if done.code:
            raise refused(done.stderr, "the cluster takes no such run")

    async def _wait(self, say: Say) -> None:
        """Until every pod runs. Raises RunFailed when one has ended, or never begins, a HostError when the cluster has
        not answered for minutes: one question without an answer is no reason to give back what was waited for."""
        told: set[str] = set()
        pause, looks, silence = LOOK_S, 0, Silence()
        while True:
            looks += 1
            try:
                state, lines = await self._waited_for(looks)
            except HostError as error:
                text = silence.failed(error, asyncio.get_running_loop().time())
                lines = [text] if text else []
                told.discard(text)
            else:
                if text := silence.answered():
                    self._tell(say, text)
                if not lines:
                    self._tell(say, state.says)
                    return
            for line in lines:
                if line not in told:
                    told.add(line)
                    pause = LOOK_S
                    self._tell(say, line)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LOOK_MOST_S)

    async def _waited_for(self, looks: int) -> tuple[State, list[str]]:
        """Nothing when every pod runs."""
        jobs, pods = await self._look()
        names, newest = self._names(), by_number(pods)
        state = never_begins(names, newest) or state_of(names, jobs, newest)
        if state.phase == "gone":
            raise RunFailed(f"{state.says}{await self._last_words(newest)}\n  {state.remedy}")
        lines = waiting(names, newest)
        if any(number not in newest for number in names) and looks >= QUIET_LOOKS:
            lines += await self._troubles()
        return state, lines

    async def _last_words(self, pods: Mapping[int, Seen]) -> str:
        """What a pod that has ended has said last."""
        for number, pod in pods.items():
            if pod.phase == "gone":
                done = await self._kubectl.run("logs", pod.name, "-c", pod.container, "--tail=3")
                lines = [f"\n  {clean(line)}" for line in done.stdout.decode(errors="replace").splitlines()]
                return f"\n  {self._names().get(number)}, {pod.name}: {pod.says}{''.join(lines)}"
        return ""

    async def _troubles(self) -> list[str]:
        try:
            events = (await self._kubectl.table("get", "events")).get("items", [])
        except HostError as error:  # a right that a run needs not
            return [f"why can't be seen: {error.cause}"]
        return troubles(events, [self._run])[:1]

    async def _look(self) -> tuple[list[Table], list[Table]]:
        """The job, and its pods."""
        found = await self._kubectl.table("get", f"{self._resource},pods", "-l", of_run(self._run))
        items = found.get("items", [])
        pods = [one for one in items if one.get("kind") == "Pod"]
        return [one for one in items if one.get("kind") != "Pod"], pods

    async def _delete(self, say: Say) -> str:
        await self._kubectl.said("delete", *self._objects(), "--ignore-not-found", "--wait=false")
        loop = asyncio.get_running_loop()
        ends = loop.time() + math.ceil(self._cluster.run.stop_grace_s) + END_S
        pause = 0.2
        while True:
            late = loop.time() > ends
            try:
                jobs, pods = await self._look()
            except HostError:
                if late:
                    raise
                await asyncio.sleep(LOOK_S)  # it was told to delete them: it is asked again
                continue
            if not pods and not jobs:
                self._tell(say, "its pods are gone")
                self._there = False
                return ""
            if late:
                what = ", ".join(f"{pod.name}: {pod.says}" for pod in map(seen, pods)) or "the job itself"
                again = self._kubectl.to_paste("get", "pods", "-l", of_run(self._run))
                return f"{self._resource} '{self._run}' was deleted, and is there still ({what}); {again} shows it"
            await asyncio.sleep(pause)
            pause = min(2 * pause, LOOK_S)

    def _objects(self) -> list[str]:
        """All that a run has in the cluster, but for volumes; its pods go with the job."""
        resources = (self._resource, *self._runtimes(), "configmaps", "secrets")
        return [f"{resource}/{self._run}" for resource in resources]

    def _runtimes(self) -> list[str]:
        return {"trainjob": ["trainingruntimes.trainer.kubeflow.org"]}.get(self._cluster.kubernetes.kind, [])

    def _by_hand(self) -> str:
        return self._kubectl.to_paste("delete", "--ignore-not-found", *self._objects())

    def _names(self) -> dict[int, str]:
        return numbered(self._cluster)

    def _placed(self) -> Cluster:
        hosts = tuple(
            dataclasses.replace(host, pod=dataclasses.replace(host.pod, run=self._run, commands=self._commands))
            if host.pod
            else host
            for host in self._cluster.hosts
        )
        return dataclasses.replace(self._cluster, hosts=hosts)

    def _nothing_to_follow(self, pods: Sequence[Table]) -> str:
        waits = waiting(self._names(), by_number(pods))
        if not pods:
            where = f"what came home of it is in experiments/{self._run}"
            return f"the cluster has no pods of '{self._run}': it is over, or was never started there; {where}"
        if any(pod.phase == "waits" for pod in by_number(pods).values()):
            return f"'{self._run}' has no pod that runs yet: {'; '.join(waits)}"
        return f"'{self._run}' is over, and its pods are ending: {self._by_hand()} deletes what is left of it"

    def _tell(self, say: Say, text: str) -> None:
        say(f"{self._cluster.kubernetes.kind} {self._run}: {text}")


def _labels(one: Table) -> dict[str, str]:
    labels = one.get("metadata", {}).get("labels")
    return labels if isinstance(labels, dict) else {}


async def runs_in(cluster: Cluster) -> list[tuple[str, State]]:
    """The runs that have pods or a job now, the newest first. Raises as `KubernetesJob.found` does."""
    kubectl, resource = Kubectl(cluster.kubernetes), resource_of(cluster.kubernetes.kind)
    await kubectl.check_version()
    items = (await kubectl.table("get", f"{resource},pods", "-l", LABEL)).get("items", [])
    items.sort(key=lambda one: str(one["metadata"].get("creationTimestamp")), reverse=True)
    found = []
    for run in dict.fromkeys(str(_labels(one)[LABEL]) for one in items):
        mine = [one for one in items if _labels(one)[LABEL] == run]
        jobs = [one for one in mine if one.get("kind") != "Pod"]
        pods = by_number(one for one in mine if one.get("kind") == "Pod")
        names = dict(enumerate(noted(jobs))) or numbered(cluster)
        found.append((run, state_of(names, jobs, pods)))
    return [(run, state) for run, state in found if state.phase != "gone"]

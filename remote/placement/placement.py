"""How the hosts of a cluster come to be: what a way is to do before anything connects, and after all is over.

Hosts at an address, demo hosts and this machine are there as they are: `FixedHosts`. Those of a scheduler's are asked
for, found again by any console, and given back. docs/ways.md says how a further way is written.

    >>> placement = placement_of(cluster, "night")
    >>> cluster = await placement.place(say)     # its hosts can be connected to
    >>> await placement.end(say)                 # "": nothing is left of it
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from motley.remote.config.cluster import Cluster
from motley.remote.errors import Finding
from motley.remote.placement.kubernetes_job import KubernetesJob, runs_in
from motley.remote.placement.kubernetes_rights import findings_of
from motley.remote.placement.manifests import Manifests, none
from motley.remote.placement.slurm_job import SlurmJob, runs_of
from motley.remote.placement.slurm_queue import State

Say = Callable[[str], object]  # what is waited for, a line each


class Placement(Protocol):
    """Of the hosts of one run."""

    async def place(self, say: Say, manifests: Manifests = none) -> Cluster:
        """The cluster with hosts that can be connected to, asked for where there are none yet; waits for them. Hosts
        that start runs by themselves are asked for with the `manifests`.

        Raises RunFailed, UsageError or a HostError, each with its remedy; then nothing is left of what was asked for,
        or the error says what. The same goes for a cancellation. What was there before stays.
        """

    async def found(self, say: Say) -> Cluster:
        """The same for a run that there is. Raises UsageError when its hosts are gone."""

    async def state(self) -> State:
        """Whether they are waited for, there, or gone, in the scheduler's words."""

    async def is_anew(self) -> bool:
        """Whether the scheduler has taken the hosts back since, to give hosts once more, or has given others."""

    async def again(self, say: Say) -> Cluster | None:
        """The cluster with the hosts that are given then, once they are there. None when none are to come: they are
        gone, or still the same after a while. Raises as `place` does; nothing is given back."""

    async def end(self, say: Say) -> str:
        """Gives them back, and makes sure of it. Returns what is left; empty when nothing is."""

    async def abandon(self, say: Say) -> str:
        """The same after a start that failed, of what that start has asked for; what was there before stays."""

    async def accounts(self, say: Say) -> dict[str, Any]:
        """What the scheduler has counted of hosts that are given back, for the summary; empty where it counts nothing.
        Never raises a HostError."""


class FixedHosts:
    """They are there, whether a run is or not."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def place(self, say: Say, manifests: Manifests = none) -> Cluster:  # noqa: ARG002
        return self._cluster

    async def found(self, say: Say) -> Cluster:  # noqa: ARG002
        return self._cluster

    async def state(self) -> State:
        return State(phase="running", says="the hosts are there")

    async def is_anew(self) -> bool:
        return False

    async def again(self, say: Say) -> Cluster | None:  # noqa: ARG002
        return None

    async def end(self, say: Say) -> str:  # noqa: ARG002
        return ""

    async def abandon(self, say: Say) -> str:  # noqa: ARG002
        return ""

    async def accounts(self, say: Say) -> dict[str, Any]:  # noqa: ARG002
        return {}


def is_placed(cluster: Cluster) -> bool:
    """Whether its hosts are there only as long as a run is."""
    return any(host.way.placed for host in cluster.hosts)


def starts_runs(cluster: Cluster) -> bool:
    """Whether its hosts start a run by themselves: nothing is checked, brought or started there."""
    return any(host.way.starts_runs for host in cluster.hosts)


def placement_of(cluster: Cluster, run: str) -> Placement:
    if starts_runs(cluster):
        return KubernetesJob(cluster, run)
    return SlurmJob(cluster, run) if cluster.slurm is not None else FixedHosts(cluster)


async def placed_runs(cluster: Cluster) -> list[tuple[str, State]]:
    """The runs that have hosts now, or wait for some, the newest first. Raises as `Placement.found` does."""
    return await (runs_in(cluster) if starts_runs(cluster) else runs_of(cluster))


async def in_the_way(cluster: Cluster, say: Say) -> tuple[Finding, ...]:
    """Of a run whose hosts start it by themselves, as far as it can be known beforehand."""
    return await findings_of(cluster, say)


@asynccontextmanager
async def lent(cluster: Cluster, name: str, say: Say) -> AsyncIterator[Cluster]:
    """The cluster with hosts that can be connected to, for something short that is no run."""
    if cluster.slurm is not None:
        cluster = dataclasses.replace(cluster, slurm=dataclasses.replace(cluster.slurm, requeue=False, warning_s=0))
    placement = placement_of(cluster, name)
    placed = await placement.place(say)
    try:
        yield placed
    finally:
        await placement.end(say)

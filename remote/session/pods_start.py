"""A run that its hosts start by themselves: what they are given, and what the console knows of it without asking them.

>>> async with run_hosts.starting(manifests_of(cluster, "night", resume=None)) as cluster:
...     await start_of(cluster)(cluster, "night", folder, verbs=verbs, logbook=logbook).start(resume=None)
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from motley.remote.config.cluster import Cluster
from motley.remote.errors import UsageError
from motley.remote.experiment.experiment_writer import ExperimentWriter
from motley.remote.experiment.folder import Experiment
from motley.remote.kubernetes.pods import as_pods, members_of
from motley.remote.launch import placement
from motley.remote.launch.start_run import RunStart
from motley.remote.placement.placement import starts_runs
from motley.remote.rpc.verbs import Verbs

STAYS_S = 60.0  # of a pod whose run has ended, for a console to bring home what is there


def manifests_of(cluster: Cluster, run: str, *, resume: str | None) -> Callable[[], str]:
    """What makes them, when they are needed. It raises ConfigError and UsageError as `manifests` does."""

    def made() -> str:
        if not starts_runs(cluster):
            return ""
        if resume is not None:
            text = "pods start a run by themselves, and have no checkpoints of another one"
            raise UsageError(f"--resume is of no effect with Kubernetes yet: {text}")
        from motley.remote.kubernetes.manifests import manifests  # yaml is for these alone

        kind, token = cluster.kubernetes.kind, secrets.token_hex(32)
        return manifests(cluster, run, kind, token=token, environ=os.environ, stays_s=STAYS_S).text

    return made


class PodsStart:
    """In place of `RunStart`, whose words it takes."""

    def __init__(
        self, cluster: Cluster, run: str, folder: Path, *, verbs: Verbs, logbook: ExperimentWriter, **_: object
    ) -> None:
        self._cluster, self._run, self._folder = cluster, run, folder
        self._verbs, self._logbook = verbs, logbook

    async def start(self, *, resume: str | None) -> None:  # noqa: ARG002 - the manifests have it
        """The pods have begun it: from here on there is an experiment. Raises UsageError when there is one already."""
        members = members_of(self._cluster)
        self._logbook.keep(Experiment.create(self._folder, self._cluster.text), self._verbs)
        self._logbook.lay_out(placement.layout(as_pods(self._cluster), self._run, members))
        if words := placement.first_words(members, self._cluster):
            self._logbook.note(words, kind="first_shares")


def start_of(cluster: Cluster) -> Callable[..., RunStart | PodsStart]:
    """Who starts a run of it."""
    return PodsStart if starts_runs(cluster) else RunStart

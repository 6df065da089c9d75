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
from motley.remote.config.resume_from import ResumeFrom
from motley.remote.errors import UsageError
from motley.remote.experiment.experiment_writer import ExperimentWriter
from motley.remote.experiment.folder import Experiment
from motley.remote.feed import Layout
from motley.remote.kubernetes.pods import as_pods, members_of
from motley.remote.kubernetes.volumes import WORKSPACE, volumes
from motley.remote.launch import placement
from motley.remote.launch.start_run import RunStart
from motley.remote.placement.manifests import Manifests
from motley.remote.placement.placement import starts_runs
from motley.remote.rpc.verbs import Verbs

STAYS_S = 60.0  # of a pod whose run has ended, for a console to bring home what is there


def manifests_of(cluster: Cluster, run: str, *, resume: str | None) -> Manifests:
    """What makes them, when they are needed. It raises ConfigError and UsageError as `manifests` does."""

    def made(*, commanded: bool = True) -> str:
        if not starts_runs(cluster):
            return ""
        from motley.remote.kubernetes.manifests import manifests  # yaml is for these alone

        kind, token = cluster.kubernetes.kind, secrets.token_hex(32)
        return manifests(
            cluster, run, kind, token=token, environ=os.environ, stays_s=STAYS_S if commanded else 0.0,
            resume=on_from(cluster, resume),
        ).text  # fmt: skip

    return made


def on_from(cluster: Cluster, resume: str | None) -> tuple[str, str]:
    """The run's folder on the volume, with the name of a checkpoint where `--resume` asks for one, and which run it is;
    empty without `--resume`. Which host has that checkpoint, the pod that leads finds out (`trainer.pod.attempts`).
    Raises UsageError for what is on no volume."""
    if resume is None:
        return "", ""
    wanted = ResumeFrom.of(resume)
    if wanted.file is not None or wanted.step is not None:
        text = "pods go on from what is on their volume: name a run, or a checkpoint as in night@best"
        raise UsageError(f"--resume {resume}: {text}")
    if not any(volume.name == "workspace" for volume in volumes(cluster)):
        text = "cluster.toml has no [kubernetes] workspace, where checkpoints of earlier runs would be"
        raise UsageError(f"--resume {resume}: {text}")
    folder = f"{WORKSPACE}/.motley/runs/{wanted.run}"
    return f"{folder}/{wanted.checkpoint}.pt" if wanted.checkpoint else folder, wanted.run


class PodsStart:
    """In place of `RunStart`, whose words it takes."""

    def __init__(
        self, cluster: Cluster, run: str, folder: Path, *, verbs: Verbs, logbook: ExperimentWriter, **_: object
    ) -> None:
        self._cluster, self._run, self._folder = cluster, run, folder
        self._verbs, self._logbook = verbs, logbook

    async def start(self, *, resume: str | None) -> None:  # noqa: ARG002 - the manifests have it
        """The pods have begun it: from here on there is an experiment. Raises UsageError when there is one already."""
        self._logbook.keep(Experiment.create(self._folder, self._cluster.text), self._verbs)
        self._logbook.lay_out(laid_out(self._cluster, self._run))
        if words := placement.first_words(members_of(self._cluster), self._cluster):
            self._logbook.note(words, kind="first_shares")


def laid_out(cluster: Cluster, run: str) -> Layout:
    """Who takes part, as far as cluster.toml says it."""
    return placement.layout(as_pods(cluster), run, members_of(cluster))


def start_of(cluster: Cluster) -> Callable[..., RunStart | PodsStart]:
    """Who starts a run of it."""
    return PodsStart if starts_runs(cluster) else RunStart

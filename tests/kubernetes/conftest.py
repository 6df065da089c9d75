"""A Kubernetes for each test, which the real kubectl speaks to."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubernetes.api import kubectl
from tests.kubernetes.api.cluster import Kubernetes
from tests.kubernetes.api.nodes import containers
from tests.kubernetes.console import Console, words_of
from tests.support.absent import not_here


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Kubernetes]:
    """Of its own; its pods are processes of this machine, and none is left when the test ends."""
    if reason := kubectl.why_not() or containers.why_not():
        not_here(reason)
    with Kubernetes(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def console(cluster: Kubernetes) -> Iterator[Console]:
    """Starts `motley run --plain`; what is left of it ends with the test."""
    started = []

    def start(config: Path, name: str) -> subprocess.Popen[str]:
        words, pipe = words_of(config, "run", "--plain", "--name", name), subprocess.PIPE
        started.append(subprocess.Popen(words, env=cluster.env, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()

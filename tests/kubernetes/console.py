"""The console as a process in a Kubernetes of the tests, and the cluster.toml of its runs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.kubernetes.api.cluster import Kubernetes
from tests.support.ports import free_pair

CLASSES = """\
[cluster]
name = "cards"
connect = "kubernetes"
port = {port}

[[hosts]]
name = "big"

[[hosts]]
name = "small"
nodes = {small}
cpus = 1

[kubernetes]
kind = "{kind}"
workspace = "1Gi"
{keys}

[run]
task = "simple_cnn/digits"
global_batch = 64
eval_every = 0
steps = {steps}
"""
LONG = 100_000  # steps: nobody waits for them
BOUND_S = 300.0


def cluster_toml(folder: Path, *, steps: int, small: int = 1, kind: str = "jobset", keys: str = "") -> Path:
    path = folder / "cluster.toml"
    path.write_text(CLASSES.format(port=free_pair(), steps=steps, small=small, kind=kind, keys=keys))
    return path


def words_of(config: Path, verb: str, *words: str) -> list[str]:
    return [sys.executable, "-m", "motley.console", verb, *words, "-c", str(config)]


def motley(
    cluster: Kubernetes, config: Path, verb: str, *words: str, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words_of(config, verb, *words), env={**cluster.env, **(env or {})}, capture_output=True, text=True,
        timeout=BOUND_S, check=False,
    )  # fmt: skip


Console = Callable[[Path, str], "subprocess.Popen[str]"]


def wait_for(running: subprocess.Popen[str], wanted: str) -> str:
    """Reads lines of stderr until one has this."""
    seen = []
    assert running.stderr is not None
    for line in running.stderr:
        seen.append(line)
        if re.search(wanted, line):
            return line
    raise AssertionError(f"it ended without {wanted!r}:\n{''.join(seen)}")


def assert_nothing_left(cluster: Kubernetes, *, claims: bool = False) -> None:
    """No object of a run, and no process."""
    for resource in ("jobsets", "pytorchjobs", "trainjobs", "trainingruntimes", "pods", "configmaps", "secrets"):
        assert cluster.objects(resource) == [], resource
    assert claims or cluster.objects("persistentvolumeclaims") == []
    assert cluster.processes() == []

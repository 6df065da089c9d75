"""Whole runs of the console in a Kubernetes of the tests, by the real kubectl: pods are processes that really train."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes.api.cluster import Kubernetes

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


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def cluster_toml(folder: Path, *, steps: int, small: int = 1, kind: str = "jobset", keys: str = "") -> Path:
    path = folder / "cluster.toml"
    path.write_text(CLASSES.format(port=free_port(), steps=steps, small=small, kind=kind, keys=keys))
    return path


def words_of(config: Path, verb: str, *words: str) -> list[str]:
    return [sys.executable, "-m", "motley.console", verb, *words, "-c", str(config)]


def motley(cluster: Kubernetes, config: Path, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words_of(config, verb, *words), env=cluster.env, capture_output=True, text=True, timeout=BOUND_S, check=False
    )


Console = Callable[[Path, str], "subprocess.Popen[str]"]


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


@pytest.mark.parametrize("kind", ["pytorchjob", "jobset", "trainjob"])
def test_a_run_from_apply_to_the_last_pod(cluster: Kubernetes, tmp_path: Path, kind: str) -> None:
    config = cluster_toml(tmp_path, steps=12, kind=kind)

    done = motley(cluster, config, "run", "--plain", "--name", "night")

    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    assert summary["state"] == "finished"
    assert summary["steps"] == 12
    assert "all 2 pods run" in done.stderr
    assert [host["name"] for host in summary["hosts"]] == ["big", "small"]
    assert (tmp_path / "experiments/night/summary.json").exists()
    assert any((tmp_path / "experiments/night/checkpoints").iterdir())
    assert_nothing_left(cluster, claims=True)


def test_pods_wait_for_room_and_ctrl_c_leaves_nothing(cluster: Kubernetes, console: Console, tmp_path: Path) -> None:
    config = cluster_toml(tmp_path, steps=LONG)
    cluster.hold("Unschedulable", "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    waiting = console(config, "queued")
    line = wait_for(waiting, "no node has room")
    assert (
        "big, small: no node has room: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu. It waits" in line
    )
    status = motley(cluster, config, "status")
    assert re.search(r"queued +queued", status.stdout), status.stdout + status.stderr

    waiting.send_signal(signal.SIGINT)

    waiting.communicate(timeout=BOUND_S)
    assert waiting.returncode == 4
    assert_nothing_left(cluster)


def test_a_pod_that_is_evicted_is_done_without_and_stop_leaves_nothing(
    cluster: Kubernetes, console: Console, tmp_path: Path
) -> None:
    config = cluster_toml(tmp_path, steps=LONG, small=2)
    following = console(config, "night")
    wait_for(following, r"step \d+")
    (pod,) = (one["metadata"]["name"] for one in cluster.objects("pods") if "-small-0-1-" in one["metadata"]["name"])

    cluster.evict(pod)

    wait_for(following, r"small-1 lost at step \d+: went on after")
    wait_for(following, r"step \d+")
    stopped = motley(cluster, config, "stop", "night")
    assert json.loads(stopped.stdout)["state"] == "stopped", stopped.stderr
    following.communicate(timeout=BOUND_S)
    assert_nothing_left(cluster, claims=True)


def test_a_pod_that_is_replaced_joins_and_all_that_it_tells_is_kept(
    cluster: Kubernetes, console: Console, tmp_path: Path
) -> None:
    config = cluster_toml(tmp_path, steps=LONG, small=2, kind="pytorchjob")
    following = console(config, "night")
    wait_for(following, r"step \d+")

    cluster.evict("night-worker-1", replaced=True)

    wait_for(following, r"small-1 lost at step \d+: went on after")
    wait_for(following, r"small-1 (is back|joined|joins)")
    following.send_signal(signal.SIGINT)
    following.communicate(timeout=BOUND_S)
    steps = steps_of(tmp_path / "experiments/night", member=2)
    assert steps == sorted(set(steps))
    assert len(steps) > 2
    assert_nothing_left(cluster, claims=True)


def steps_of(experiment: Path, *, member: int) -> list[int]:
    lines = (experiment / f"logs/rank_{member}.jsonl").read_text().splitlines()
    return [table["step"] for table in map(json.loads, lines) if table["type"] == "sample"]

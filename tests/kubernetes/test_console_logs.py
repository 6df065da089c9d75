"""Records by `kubectl logs`, where no command can be run in a pod: nothing lost and nothing twice."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from motley.trainer.contract.wire import Sample, decode
from tests.kubernetes.api.cluster import Kubernetes
from tests.kubernetes.console import BOUND_S, LONG, Console, assert_nothing_left, cluster_toml, motley, wait_for

SAID = "you may not create pods/exec: a run is followed by kubectl logs, and no checkpoint comes home"


def samples(experiment: Path, member: int) -> list[int]:
    lines = (experiment / f"logs/rank_{member}_metrics.jsonl").read_text().splitlines()
    return [table["step"] for table in map(json.loads, lines) if table["type"] == "sample"]


def told(cluster: Kubernetes, pod: str) -> list[int]:
    """The steps that it has printed."""
    found = map(decode, cluster.log(pod).splitlines())
    return [record.step for record in found if isinstance(record, Sample)]


@contextmanager
def asks_for_logs(cluster: Kubernetes, times: int) -> Iterator[None]:
    """What happens in the block has logs asked for again, so many times at least."""

    def asked() -> int:
        return [path.rpartition("/")[2] for _, path, _ in cluster.requests].count("log")

    before = asked()
    yield
    cluster.until(lambda: asked() >= before + times, "logs are asked for again")


def commands(cluster: Kubernetes) -> list[str]:
    return [path for _, path, _ in cluster.requests if path.endswith("/exec")]


def test_without_the_right_to_run_commands_a_run_is_followed_to_its_end_by_its_logs(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    config = cluster_toml(tmp_path, steps=12)
    cluster.forbid("create", "pods/exec")

    done = motley(cluster, config, "run", "--plain", "--name", "night")

    assert done.returncode == 0, done.stderr
    assert SAID in done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    assert (summary["state"], summary["steps"]) == ("finished", 12)
    assert summary["final_loss"] > 0
    assert [host["name"] for host in summary["hosts"]] == ["big", "small"]
    experiment = tmp_path / "experiments/night"
    assert samples(experiment, 0) == samples(experiment, 1) == list(range(1, 13))
    assert json.loads((experiment / "summary.json").read_bytes())["steps"] == 12
    assert commands(cluster) == []
    assert (cluster.home("cards-workspace") / ".motley/runs/night/big/checkpoints/final.pt").exists()
    assert_nothing_left(cluster, claims=True)


@pytest.mark.long
def test_streams_that_are_cut_off_and_lines_that_are_lost_on_the_way(
    cluster: Kubernetes, console: Console, tmp_path: Path
) -> None:
    config = cluster_toml(tmp_path, steps=LONG, kind="pytorchjob")
    cluster.forbid("create", "pods/exec")
    following = console(config, "night")
    wait_for(following, r"step \d+")
    for _ in range(2):
        with asks_for_logs(cluster, 2):
            cluster.cut_streams()
        wait_for(following, r"step \d+")
        for pod, lines in (("night-worker-0", 7), ("night-master-0", 3)):
            with asks_for_logs(cluster, 1):
                cluster.log_loses(pod, lines)
        wait_for(following, r"step \d+")
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "cluster.toml").write_text(config.read_text())
    refused = motley(cluster, other / "cluster.toml", "drop", "night", "small")
    assert refused.returncode != 0
    assert "kubectl auth can-i create pods --subresource=exec" in refused.stderr

    stopped = motley(cluster, other / "cluster.toml", "stop", "night")

    assert json.loads(stopped.stdout)["state"] == "stopped", stopped.stderr
    following.communicate(timeout=BOUND_S)
    for experiment in (tmp_path / "experiments/night", other / "experiments/night"):
        for member in (0, 1):
            steps = samples(experiment, member)
            assert steps == list(range(1, len(steps) + 1))
            assert len(steps) > 2
    assert (cluster.home("cards-workspace") / ".motley/runs/night/big/checkpoints/stop.pt").exists()
    assert commands(cluster) == []
    assert_nothing_left(cluster, claims=True)


@pytest.mark.long
def test_the_last_that_an_evicted_pod_has_told_is_read_from_its_log(
    cluster: Kubernetes, console: Console, tmp_path: Path
) -> None:
    config = cluster_toml(tmp_path, steps=LONG, small=2)
    following = console(config, "night")
    wait_for(following, r"step \d+")
    (pod,) = (one["metadata"]["name"] for one in cluster.objects("pods") if "-small-0-1-" in one["metadata"]["name"])

    cluster.evict(pod)

    wait_for(following, "this pod is asked to end")  # is told by its log alone
    cluster.until(lambda: cluster.phase(pod) == "Evicted")
    steps = told(cluster, pod)
    stopped = motley(cluster, config, "stop", "night")
    assert json.loads(stopped.stdout)["state"] == "stopped", stopped.stderr
    following.communicate(timeout=BOUND_S)
    experiment = tmp_path / "experiments/night"
    assert samples(experiment, 2) == steps == list(range(1, len(steps) + 1))
    assert samples(experiment, 0)[-1] > steps[-1]
    assert_nothing_left(cluster, claims=True)


@pytest.mark.long
def test_a_run_that_has_ended_with_nobody_about_is_read_from_what_its_pods_have_left(
    cluster: Kubernetes, tmp_path: Path
) -> None:
    config = cluster_toml(tmp_path, steps=30)
    cluster.forbid("create", "pods/exec")
    started = motley(cluster, config, "run", "--plain", "--detach", "--name", "night")
    assert started.returncode == 0, started.stderr
    cluster.until(lambda: all(cluster.phase(p["metadata"]["name"]) == "Completed" for p in cluster.objects("pods")))
    (small,) = (one["metadata"]["name"] for one in cluster.objects("pods") if "-small-" in one["metadata"]["name"])
    cluster.log_keeps(small, 4000)  # the node has kept its newest lines only
    left = told(cluster, small)
    assert 0 < len(left) < 30

    done = motley(cluster, config, "attach", "night", "--plain")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 30
    experiment = tmp_path / "experiments/night"
    assert samples(experiment, 0) == list(range(1, 31))
    newest = samples(experiment, 1)
    assert newest[-len(left) :] == left
    assert newest == sorted(set(newest))
    kept = (experiment / "events.jsonl").read_text()
    assert re.search(r"\d+ lines that it told are gone: the node keeps the newest part of a log only", kept)
    assert_nothing_left(cluster, claims=True)

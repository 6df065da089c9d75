"""Whole runs of the console in a Kubernetes of the tests, by the real kubectl: pods are processes that really train."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes.api.cluster import Kubernetes
from tests.kubernetes.console import BOUND_S, LONG, Console, assert_nothing_left, cluster_toml, motley, wait_for


@pytest.mark.parametrize(
    "kind",
    ["jobset", pytest.param("pytorchjob", marks=pytest.mark.long), pytest.param("trainjob", marks=pytest.mark.long)],
)
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

    fetched = motley(cluster, config, "fetch", "night", "--json")

    assert fetched.returncode == 0, fetched.stderr
    found = json.loads(fetched.stdout)
    names = {str(path.relative_to(found["folder"])) for path in Path(found["folder"]).rglob("*") if path.is_file()}
    assert {"big/summary.json", "big/checkpoints/final.pt", "small/events.jsonl"} <= names
    assert not any("spec.json" in name for name in names)  # the token is in it
    unknown = motley(cluster, config, "fetch", "other")
    assert unknown.returncode == 2
    assert "the volume has nothing of a run 'other'; it has night" in unknown.stderr
    assert_nothing_left(cluster, claims=True)


def test_pods_wait_for_room_and_ctrl_c_leaves_nothing(cluster: Kubernetes, console: Console, tmp_path: Path) -> None:
    config = cluster_toml(tmp_path, steps=LONG)
    cluster.hold("Unschedulable", "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    waiting = console(config, "queued")
    line = wait_for(waiting, "no node has room")
    assert "big, small: no node has room: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu. It waits" in line
    status = motley(cluster, config, "status")
    assert re.search(r"queued +queued", status.stdout), status.stdout + status.stderr

    waiting.send_signal(signal.SIGINT)

    waiting.communicate(timeout=BOUND_S)
    assert waiting.returncode == 4
    assert_nothing_left(cluster)


@pytest.mark.long
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


@pytest.mark.long
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
    lines = (experiment / f"logs/rank_{member}_metrics.jsonl").read_text().splitlines()
    return [table["step"] for table in map(json.loads, lines) if table["type"] == "sample"]


@pytest.mark.long
def test_the_pod_that_leads_is_lost_and_the_one_in_its_place_joins_the_others(
    cluster: Kubernetes, console: Console, tmp_path: Path
) -> None:
    config = cluster_toml(tmp_path, steps=LONG, kind="pytorchjob")
    following = console(config, "night")
    wait_for(following, r"step \d+")

    cluster.node_dies("night-master-0", replaced=True)

    wait_for(following, r"big, which led the run, is gone: small leads it from now on")
    wait_for(following, r"big joined at step \d+: went on after")
    following.send_signal(signal.SIGINT)
    output, _ = following.communicate(timeout=BOUND_S)
    assert json.loads(output)["state"] == "stopped"
    assert_nothing_left(cluster, claims=True)


@pytest.mark.long
def test_a_pod_that_is_taken_out_can_come_back(cluster: Kubernetes, console: Console, tmp_path: Path) -> None:
    config = cluster_toml(tmp_path, steps=LONG, small=2)
    following = console(config, "night")
    wait_for(following, r"step \d+")
    pods = {one["metadata"]["uid"] for one in cluster.objects("pods")}

    dropped = motley(cluster, config, "drop", "night", "small-1")
    assert dropped.returncode == 0, dropped.stderr
    joined = motley(cluster, config, "join", "night", "small-1")
    assert joined.returncode == 0, joined.stderr
    wait_for(following, r"small-1 joined at step \d+: went on after")

    assert {one["metadata"]["uid"] for one in cluster.objects("pods")} == pods
    written = motley(cluster, config, "checkpoint", "night")
    assert written.returncode == 0, written.stderr
    following.send_signal(signal.SIGINT)
    following.communicate(timeout=BOUND_S)
    assert_nothing_left(cluster, claims=True)


def test_streams_that_break_lose_no_line_and_another_console_can_stop_it(
    cluster: Kubernetes, console: Console, tmp_path: Path
) -> None:
    config = cluster_toml(tmp_path, steps=LONG)
    following = console(config, "night")
    wait_for(following, r"step \d+")
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "cluster.toml").write_text(config.read_text())

    cluster.cut_streams()
    status = motley(cluster, other / "cluster.toml", "status")
    wait_for(following, r"step \d+")
    cluster.cut_streams()
    wait_for(following, r"step \d+")
    stopped = motley(cluster, other / "cluster.toml", "stop", "night")

    following.communicate(timeout=BOUND_S)
    assert re.search(r"night +running", status.stdout), status.stdout + status.stderr
    assert json.loads(stopped.stdout)["state"] == "stopped", stopped.stderr
    for member in (0, 1):
        steps = steps_of(tmp_path / "experiments/night", member=member)
        assert steps == list(range(1, len(steps) + 1))
        assert len(steps) > 2
    assert_nothing_left(cluster, claims=True)


@pytest.mark.long
def test_a_script_of_ones_own(cluster: Kubernetes, tmp_path: Path) -> None:
    config = cluster_toml(tmp_path, steps=1)
    text = config.read_text()
    config.write_text(text[: text.index("[run]")] + '[run]\nscript = "train.py"\n')
    (tmp_path / "train.py").write_text(
        "import os, pathlib\nimport torch.distributed as dist\n\n"
        'dist.init_process_group("gloo")\nprint("rank", dist.get_rank(), "of", dist.get_world_size())\n'
        'pathlib.Path(os.environ["OUTPUT_DIR"]).mkdir(parents=True, exist_ok=True)\n'
        'pathlib.Path(os.environ["OUTPUT_DIR"], f"{dist.get_rank()}.txt").write_text("done")\n'
        "dist.destroy_process_group()\n"
    )

    done = motley(cluster, config, "run", "--plain", "--name", "night")

    assert done.returncode == 0, done.stderr
    logs = tmp_path / "experiments/night/logs"
    assert "rank 0 of 2" in (logs / "rank_0.log").read_text()
    fetched = motley(cluster, config, "fetch", "night")
    assert fetched.returncode == 0, fetched.stderr
    assert (Path(fetched.stdout.strip()) / "output/1.txt").read_text() == "done"
    assert_nothing_left(cluster, claims=True)


@pytest.mark.long
def test_a_run_goes_on_from_what_another_one_has_left_on_the_volume(cluster: Kubernetes, tmp_path: Path) -> None:
    config = cluster_toml(tmp_path, steps=6)
    assert motley(cluster, config, "run", "--plain", "--name", "first").returncode == 0

    words = ("--plain", "--name", "second", "--resume", "first", "--set", "run.steps=9")
    done = motley(cluster, config, "run", *words)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 9
    assert steps_of(tmp_path / "experiments/second", member=0) == [7, 8, 9]
    nothing = motley(cluster, config, "run", "--plain", "--name", "third", "--resume", "nosuch")
    assert nothing.returncode == 1
    assert "--resume 'nosuch': the volume has no checkpoint in /workspace" in nothing.stderr
    assert_nothing_left(cluster, claims=True)

"""Runs of manifests whose pods train: to the end, after an eviction, without a lost node, until they are deleted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from motley.remote.kubernetes.documents import Kind
from motley.trainer.contract.wire import Chunk, Event, Record, Sample, decode
from tests.kubernetes.api.cluster import Kubernetes
from tests.remote.kubernetes.variants import Variant, made
from tests.support.ports import free_pair

TWO_RANKS = """\
port = {port}

[[hosts]]
name = "large"

[[hosts]]
name = "small"
cpus = 1

[run]
steps = {steps}
global_batch = 24
eval_every = 0

[elastic]
hold_s = 60

[kubernetes]
workspace = "1Gi"
"""
FOR_EVER = 10_000_000
ALL = "pytorchjobs,jobsets,trainjobs,trainingruntimes,configmaps,secrets"


def applied(cluster: Kubernetes, folder: Path, kind: Kind, *, steps: int) -> None:
    file = folder / "night.yaml"
    file.write_text(made(folder, Variant(kind, TWO_RANKS.format(port=free_pair(), steps=steps))).text)
    done = cluster.kubectl("apply", "--server-side", "-f", file)
    assert done.returncode == 0, done.stderr


def pods_of(cluster: Kubernetes) -> dict[str, str]:
    """By the host that each is: the one that leads, and the other."""
    names = [pod["metadata"]["name"] for pod in cluster.objects("pods")]
    leads = [name for name in names if "master" in name or "large" in name]
    return {"large": leads[-1], "small": next(name for name in reversed(names) if name not in leads)}


def records(text: str) -> list[Record]:
    return [decode(line.encode()) for line in text.split("\n")[:-1] if line.startswith("{")]


def steps_of(cluster: Kubernetes, pod: str) -> list[int]:
    return [record.step for record in records(cluster.log(pod)) if isinstance(record, Sample)]


def groups_of(cluster: Kubernetes, pod: str) -> list[int]:
    found = [r for r in records(cluster.log(pod)) if isinstance(r, Event) and r.kind == "group"]
    return [event.data["world_size"] for event in found]


def test_a_pytorchjob_with_two_ranks_trains_to_its_end(cluster: Kubernetes, tmp_path: Path) -> None:
    """Its pods wait for room first. What one reads of `kubectl logs -f` is all that a pod has told."""
    cluster.hold("Unschedulable", "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    applied(cluster, tmp_path, "pytorchjob", steps=8)
    cluster.until(lambda: cluster.phase("night-worker-0") == "Pending", "the pods wait")
    assert "Insufficient nvidia.com/gpu" in cluster.kubectl("get", "events").stdout
    assert cluster.processes() == []
    cluster.release()
    cluster.until(lambda: cluster.phase("night-worker-0") == "Running", "the pods run")
    following = cluster.popen("logs", "-f", "night-worker-0")
    assert following.stdout is not None
    followed = records(following.stdout.read())
    assert following.wait(60) == 0
    assert [r.step for r in followed if isinstance(r, Sample)] == list(range(1, 9))
    assert not [r for r in followed if isinstance(r, Chunk) and "Error" in r.text]
    done = cluster.kubectl("wait", "--for=condition=Succeeded", "pytorchjob/night", "--timeout=60s")
    assert done.returncode == 0, done.stderr
    assert steps_of(cluster, "night-master-0") == list(range(1, 9))
    # The operator removes what still runs when the Master is done.
    cluster.until(lambda: cluster.phase("night-worker-0") in ("Completed", ""), "the worker ends, too")
    run = cluster.home("cards-workspace") / ".motley/runs/night/large"
    assert json.loads((run / "summary.json").read_bytes())["state"] == "finished"
    assert list((run / "checkpoints").glob("final.pt"))
    assert cluster.kubectl("delete", ALL, "-l", "motley-run=night").returncode == 0
    cluster.until(lambda: cluster.objects("pods") == [] and cluster.processes() == [], "nothing is left")


@pytest.mark.long
@pytest.mark.parametrize("replaced", [False, True])
def test_a_pod_is_evicted_and_the_other_goes_on(cluster: Kubernetes, tmp_path: Path, replaced: bool) -> None:
    applied(cluster, tmp_path, "pytorchjob", steps=FOR_EVER)
    cluster.until(lambda: len(steps_of(cluster, "night-worker-0")) > 3, "both train")
    cluster.evict("night-worker-0", replaced=replaced)
    cluster.until(lambda: groups_of(cluster, "night-master-0")[:2] == [2, 1], "the one that leads goes on alone")
    if replaced:
        cluster.until(lambda: groups_of(cluster, "night-master-0") == [2, 1, 2], "another pod has joined")
    else:
        cluster.until(lambda: cluster.phase("night-worker-0") == "Evicted")
        status = (cluster.object("pods", "night-worker-0") or {})["status"]
        assert ("DisruptionTarget", "True") in [(one["type"], one["status"]) for one in status["conditions"]]
        before = len(steps_of(cluster, "night-master-0"))
        cluster.until(lambda: len(steps_of(cluster, "night-master-0")) > before + 3, "it trains")
        assert len(cluster.objects("pods")) == 2
    done = steps_of(cluster, "night-master-0")
    assert done == list(range(1, len(done) + 1))
    assert cluster.kubectl("delete", ALL, "-l", "motley-run=night").returncode == 0
    cluster.until(lambda: cluster.processes() == [], "no process is left")


@pytest.mark.long
@pytest.mark.parametrize("kind", ["jobset", "trainjob"])
def test_a_node_of_a_jobset_dies_and_the_run_goes_on_to_its_end(
    cluster: Kubernetes, tmp_path: Path, kind: Kind
) -> None:
    applied(cluster, tmp_path, kind, steps=400)
    cluster.until(lambda: len(cluster.objects("pods")) == 2)
    pods = pods_of(cluster)
    cluster.until(lambda: len(steps_of(cluster, pods["small"])) > 3, "both train")
    cluster.node_dies(pods["small"])
    cluster.until(lambda: groups_of(cluster, pods["large"])[:2] == [2, 1], "the one that leads goes on alone")
    wanted = {"jobset": "condition=Completed", "trainjob": "condition=Complete"}[kind]
    done = cluster.kubectl("wait", f"--for={wanted}", f"{kind}/night", "--timeout=120s", timeout_s=150.0)
    assert done.returncode == 0, done.stderr
    assert steps_of(cluster, pods["large"]) == list(range(1, 401))
    cluster.until(lambda: cluster.processes() == [], "no process is left")


@pytest.mark.long
def test_a_run_that_is_deleted_leaves_nothing_but_its_volume(cluster: Kubernetes, tmp_path: Path) -> None:
    applied(cluster, tmp_path, "jobset", steps=FOR_EVER)
    cluster.until(lambda: len(cluster.objects("pods")) == 2)
    pods = pods_of(cluster)
    cluster.until(lambda: len(steps_of(cluster, pods["small"])) > 3, "both train")
    inside = cluster.kubectl("exec", pods["large"], "--", "sh", "-c", "ls $HOME/.motley/runs/night/large")
    assert "spec.json" in inside.stdout, inside.stderr
    assert cluster.kubectl("delete", ALL, "-l", "motley-run=night").returncode == 0
    cluster.until(lambda: cluster.objects("pods") == [] and cluster.processes() == [], "nothing is left")
    kinds = ("jobsets", "jobs", "services", "configmaps", "secrets", "persistentvolumeclaims")
    assert {kind: len(cluster.objects(kind)) for kind in kinds if cluster.objects(kind)} == {
        "persistentvolumeclaims": 1
    }
    assert (cluster.home("cards-workspace") / ".motley/runs/night/large/checkpoints/stop.pt").exists()

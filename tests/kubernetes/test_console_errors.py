"""What is in the way of a run, told by the console with its remedy, and nothing left behind: by the real kubectl."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kubernetes.api.cluster import Kubernetes
from tests.kubernetes.console import BOUND_S, LONG, Console, assert_nothing_left, cluster_toml, motley, wait_for

LONG_TEST = pytest.mark.long
Prepare = Callable[[Kubernetes], object]


def refuse(resource: str) -> Prepare:
    return lambda cluster: cluster.refuse_admission(resource, "no runs on Mondays")


@pytest.mark.parametrize(
    ("prepare", "keys", "code", "said"),
    [
        pytest.param(
            lambda cluster: [cluster.forbid("create", "pods/exec"), cluster.forbid("get", "pods/log")],
            "",
            2,
            r"you may not create pods/exec: ask who runs the cluster for that right",
            id="a right that is missing",
        ),
        pytest.param(
            lambda cluster: cluster.remove_kind("jobsets"),
            "",
            2,
            r'the cluster has no jobsets of jobset\.x-k8s\.io/v1alpha2: set \[kubernetes\] kind = "pytorchjob"',
            id="no operator",
        ),
        pytest.param(
            lambda _: None, 'context = "nosuch"', 3, r"nosuch.*kubectl config get-contexts", id="no such context",
            marks=LONG_TEST,
        ),
        pytest.param(
            lambda _: None, 'namespace = "nosuch"', 1,
            r'namespaces "nosuch" not found\n +Make it \(kubectl create namespace', id="no such namespace",
            marks=LONG_TEST,
        ),
        pytest.param(
            refuse("jobsets"), "", 1, r"no runs on Mondays\n +A rule of the cluster's refuses it", marks=LONG_TEST,
            id="an admission rule",
        ),
        pytest.param(
            lambda cluster: cluster.stop_answering(), "", 3, r"was refused.*The cluster does not answer",
            id="nobody answers",
        ),
    ],
)  # fmt: skip
def test_what_is_in_the_way_is_told_before_a_pod_is(
    cluster: Kubernetes, tmp_path: Path, prepare: Prepare, keys: str, code: int, said: str
) -> None:
    config = cluster_toml(tmp_path, steps=LONG, keys=keys)
    prepare(cluster)

    done = motley(cluster, config, "run", "--plain", "--name", "night")

    assert done.returncode == code, done.stderr
    assert re.search(said, done.stderr), done.stderr
    assert_nothing_left(cluster)


@pytest.mark.parametrize(
    "verb", ["run", pytest.param("status", marks=LONG_TEST), pytest.param("check", marks=LONG_TEST)]
)
def test_where_there_is_no_kubectl(cluster: Kubernetes, tmp_path: Path, verb: str) -> None:
    config = cluster_toml(tmp_path, steps=LONG)
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "env"):
        (folder / name).symlink_to(f"/bin/{name}")

    done = motley(cluster, config, verb, env={"PATH": str(folder)})

    assert done.returncode != 0
    assert re.search(r"there is no kubectl on this machine", done.stdout + done.stderr), done.stdout + done.stderr
    assert "Install kubectl 1.24 or later" in done.stdout + done.stderr


def test_a_kubectl_that_is_too_old(cluster: Kubernetes, tmp_path: Path) -> None:
    """Debian's, as it says its version; the cluster is asked nothing."""
    config = cluster_toml(tmp_path, steps=LONG)
    folder = tmp_path / "bin"
    folder.mkdir()
    said = json.dumps({"clientVersion": {"major": "1", "minor": "20", "gitVersion": "v1.20.2"}})
    (folder / "kubectl").write_text(f"#!/bin/sh\necho '{said}'\n")
    (folder / "kubectl").chmod(0o755)

    done = motley(cluster, config, "run", "--plain", env={"PATH": f"{folder}:/usr/bin:/bin"})

    assert done.returncode == 2, done.stderr
    assert f"{folder}/kubectl can't be used: it is v1.20, which is too old: 1.24 is the least" in done.stderr
    assert "Install kubectl 1.24 or later" in done.stderr
    assert cluster.requests == []
    assert not (tmp_path / "experiments").exists()


def test_a_kubectl_that_is_pointed_at_nothing(cluster: Kubernetes, tmp_path: Path) -> None:
    config = cluster_toml(tmp_path, steps=LONG)

    done = motley(cluster, config, "run", "--plain", env={"KUBECONFIG": str(tmp_path / "nothing")})

    assert done.returncode == 3, done.stderr
    assert "kubectl knows no cluster" in done.stderr
    assert "kubectl config get-contexts lists the clusters that it knows" in done.stderr
    assert cluster.requests == []
    assert not (tmp_path / "experiments").exists()


def test_a_name_that_is_taken(cluster: Kubernetes, tmp_path: Path) -> None:
    config = cluster_toml(tmp_path, steps=LONG)
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "night"}}
    cluster.kubectl("apply", "-f", "-", given=json.dumps(other)).check_returncode()

    done = motley(cluster, config, "run", "--plain", "--name", "night")

    assert done.returncode == 2
    assert "the cluster has a run 'night' already (configmap/night): choose another name with --name" in done.stderr
    assert [one["metadata"]["name"] for one in cluster.objects("configmaps")] == ["night"]


def quota(cluster: Kubernetes) -> None:
    cluster.quota["pods"] = 1


def image(cluster: Kubernetes) -> None:
    cluster.images = {"other:1"}


@pytest.mark.parametrize(
    ("prepare", "keys", "said"),
    [
        pytest.param(
            image, 'image = "nosuch:1"', r"big, small: its image can't be fetched: .*Is \[kubernetes\] image",
            id="an image that can't be fetched",
        ),
        pytest.param(
            lambda _: None, 'storage_class = "gold"', r"its volume is not there yet: .*Set \[kubernetes\] storage",
            id="a claim that is never bound",
        ),
        pytest.param(quota, "", r"exceeded quota", id="a quota", marks=LONG_TEST),
    ],
)  # fmt: skip
def test_what_pods_wait_for_is_told_and_nothing_is_left_when_it_is_given_up(
    cluster: Kubernetes, console: Console, tmp_path: Path, prepare: Prepare, keys: str, said: str
) -> None:
    config = cluster_toml(tmp_path, steps=LONG, keys=keys)
    prepare(cluster)
    waiting = console(config, "night")
    wait_for(waiting, said)

    waiting.send_signal(signal.SIGINT)

    waiting.communicate(timeout=BOUND_S)
    assert waiting.returncode == 4
    assert_nothing_left(cluster)


def test_check_says_what_is_in_the_way(cluster: Kubernetes, tmp_path: Path) -> None:
    config = cluster_toml(tmp_path, steps=LONG)
    assert motley(cluster, config, "check").returncode == 0
    cluster.forbid("create", "secrets")

    done = motley(cluster, config, "check")

    assert done.returncode != 0
    assert "you may not create secrets" in done.stdout + done.stderr
    assert_nothing_left(cluster)

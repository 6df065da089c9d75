"""The real kubectl takes the API server of the tests for one: it makes, finds, follows, enters and removes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.kubernetes.api.cluster import Kubernetes

SH = ["sh", "-c"]


def pod(name: str, script: str, **spec: object) -> str:
    """The manifest of a pod that runs this in a shell."""
    container = {"name": "main", "image": "busybox", "command": [*SH, script]}
    metadata = {"name": name, "labels": {"app": "shell"}}
    table = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
    return str(yaml.safe_dump({**table, "spec": {"restartPolicy": "Never", "containers": [container], **spec}}))


def started(cluster: Kubernetes, name: str, script: str, **spec: object) -> None:
    done = cluster.kubectl("apply", "-f", "-", given=pod(name, script, **spec))
    assert done.stdout == f"pod/{name} created\n", done.stderr
    cluster.until(lambda: cluster.phase(name) in ("Running", "Completed", "Error"), f"{name} runs")


def test_objects_are_made_changed_listed_and_removed(cluster: Kubernetes) -> None:
    metadata = {"name": "night", "labels": {"run": "night"}}

    def config(**data: str) -> str:
        table = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        return str(yaml.safe_dump({**table, "data": data}))

    for how in ([], ["--server-side"]):
        assert cluster.kubectl("apply", *how, "--dry-run=server", "-f", "-", given=config(a="1")).returncode == 0
        assert cluster.object("configmaps", "night") is None
        assert cluster.kubectl("apply", *how, "-f", "-", given=config(a="1", b="2")).returncode == 0
        done = cluster.kubectl("apply", *how, "-f", "-", given=config(a="3", b="2"))
        assert "night configured" in done.stdout or "night serverside-applied" in done.stdout, done.stderr
        assert (
            cluster.kubectl("patch", "configmap", "night", "--type=merge", "-p", '{"data":{"c":"4"}}').returncode == 0
        )
        found = json.loads(cluster.kubectl("get", "cm", "-l", "run in (night,day)", "-o", "json").stdout)
        assert [one["data"] for one in found["items"]] == [{"a": "3", "b": "2", "c": "4"}]
        assert cluster.kubectl("get", "cm", "-l", "run!=night", "-o", "name").stdout == ""
        assert "night" in cluster.kubectl("delete", "configmap", "-l", "run=night").stdout
        assert cluster.objects("configmaps") == []


def test_a_pod_is_watched_to_its_end_and_waited_for(cluster: Kubernetes, tmp_path: Path) -> None:
    go = tmp_path / "go"
    watch = cluster.popen("get", "pods", "-w", "-o", "jsonpath={.status.phase}{'\\n'}")
    paths = "/api/v1/namespaces/default/pods"
    cluster.until(lambda: [path for _, path, _ in cluster.requests].count(paths) == 2, "it has listed, and watches")
    started(cluster, "short", f"until [ -e {go} ]; do sleep 0.1; done; exit 3")
    assert cluster.kubectl("wait", "--for=condition=Ready", "pod/short", "--timeout=60s").returncode == 0
    go.touch()
    done = cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/short", "--timeout=60s")
    assert done.returncode == 0, done.stderr
    status = json.loads(cluster.kubectl("get", "pod", "short", "-o", "json").stdout)["status"]
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    assert "0/1" in cluster.kubectl("get", "pods").stdout
    assert watch.stdout is not None
    seen = [watch.stdout.readline().strip()]
    while seen[-1] != "Failed":
        seen.append(watch.stdout.readline().strip())
    assert list(dict.fromkeys(seen)) == ["Pending", "Running", "Failed"]


def test_a_log_is_followed_from_where_one_likes(cluster: Kubernetes, tmp_path: Path) -> None:
    go = tmp_path / "go"
    started(cluster, "talks", f"seq 5; until [ -e {go} ]; do sleep 0.1; done; echo last; echo error >&2")
    following = cluster.popen("logs", "-f", "talks")
    assert following.stdout is not None
    assert [following.stdout.readline() for _ in range(5)] == [f"{n}\n" for n in range(1, 6)]
    assert cluster.kubectl("logs", "talks", "--tail=2").stdout == "4\n5\n"
    stamped = cluster.kubectl("logs", "talks", "--timestamps").stdout.splitlines()
    moments = [line.split(" ")[0] for line in stamped]
    assert sorted(set(moments)) == moments
    assert cluster.kubectl("logs", "talks", f"--since-time={moments[-1][:19]}Z").stdout.endswith("5\n")
    assert cluster.kubectl("logs", "talks", "--since-time=2100-01-01T00:00:00Z").stdout == ""
    go.touch()
    assert following.stdout.read() == "last\nerror\n"
    assert following.wait(60) == 0
    assert cluster.kubectl("logs", "-l", "app=shell", "--tail=1", "--prefix").stdout == "[pod/talks/main] error\n"
    assert "previous terminated container" in cluster.kubectl("logs", "talks", "--previous").stderr
    cluster.log_keeps("talks", 12)
    assert cluster.kubectl("logs", "talks").stdout == "last\nerror\n"


def test_a_stream_that_is_cut_off_ends_and_another_one_goes_on(cluster: Kubernetes) -> None:
    started(cluster, "talks", "echo here; sleep 1000")
    following = cluster.popen("logs", "-f", "talks")
    assert following.stdout is not None
    assert following.stdout.readline() == "here\n"
    cluster.cut_streams()
    following.wait(60)
    assert cluster.phase("talks") == "Running"
    assert cluster.kubectl("logs", "talks").stdout == "here\n"
    cluster.stop_answering()
    assert "refused" in cluster.kubectl("get", "pods").stderr
    cluster.answer_again()
    assert "Running" in cluster.kubectl("get", "pods").stdout


def test_commands_in_a_pod_have_its_files_its_input_and_their_exit_codes(cluster: Kubernetes, tmp_path: Path) -> None:
    volume = {"volumes": [{"name": "work", "persistentVolumeClaim": {"claimName": "work"}}]}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    table = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "work"}, "spec": claim}
    assert cluster.kubectl("apply", "-f", "-", given=yaml.safe_dump(table)).returncode == 0
    made = yaml.safe_load(pod("box", "sleep 1000", **volume))
    made["spec"]["containers"][0]["volumeMounts"] = [{"name": "work", "mountPath": "/work-of-box"}]
    assert cluster.kubectl("apply", "-f", "-", given=yaml.safe_dump(made)).returncode == 0
    cluster.until(lambda: cluster.phase("box") == "Running")

    done = cluster.kubectl("exec", "box", "--", *SH, "hostname; echo not good >&2; exit 7")
    assert (done.returncode, done.stdout) == (7, "box\n")
    assert "not good" in done.stderr
    data = "0123456789" * 30_000
    assert cluster.kubectl("exec", "-i", "box", "--", "wc", "-c", given=data).stdout.strip() == str(len(data))
    here = tmp_path / "here.txt"
    here.write_text(data)
    assert cluster.kubectl("cp", here, "box:/work-of-box/there.txt").returncode == 0
    assert (cluster.home("work") / "there.txt").read_text() == data
    assert cluster.kubectl("cp", "box:/work-of-box/there.txt", tmp_path / "back.txt").returncode == 0
    assert (tmp_path / "back.txt").read_text() == data
    assert not Path("/work-of-box").exists()


def test_a_pod_that_does_not_end_when_it_is_asked_is_killed_after_its_grace(cluster: Kubernetes) -> None:
    started(cluster, "stubborn", "trap '' TERM; echo ready; sleep 1000 & while :; do wait; done")
    cluster.until(lambda: cluster.log("stubborn"))
    began = len(cluster.processes())
    assert began >= 3  # it, what it has started, and what holds its namespaces
    assert cluster.kubectl("delete", "pod", "stubborn", "--grace-period=1").returncode == 0
    assert cluster.object("pods", "stubborn") is None
    cluster.until(lambda: cluster.processes() == [], "no process is left", 20)


def test_what_a_test_leaves_running_ends_with_its_cluster(cluster: Kubernetes) -> None:
    started(cluster, "left", "sleep 1000 & sleep 1000")
    assert cluster.processes()  # the fixture looks for them at its end


@pytest.mark.parametrize("cascade", ["background", "foreground", "orphan"])
def test_what_belongs_to_a_job_goes_with_it_unless_it_is_orphaned(cluster: Kubernetes, cascade: str) -> None:
    replica = {"replicas": 1, "restartPolicy": "ExitCode", "template": yaml.safe_load(pod("x", "sleep 1000"))}
    replica["template"] = {"spec": replica["template"]["spec"]}
    replica["template"]["spec"]["containers"][0]["name"] = "pytorch"
    replica["template"]["spec"].pop("restartPolicy")
    replica["template"]["spec"]["terminationGracePeriodSeconds"] = 1  # `sleep` as a first process minds no SIGTERM
    table = {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": {"name": "night"}}
    table["spec"] = {"pytorchReplicaSpecs": {"Master": replica}}
    assert cluster.kubectl("create", "-f", "-", given=yaml.safe_dump(table)).returncode == 0
    cluster.until(lambda: cluster.phase("night-master-0") == "Running")
    done = cluster.kubectl("delete", "pytorchjob", "night", f"--cascade={cascade}", "--timeout=60s")
    assert done.returncode == 0, done.stderr
    assert cluster.object("pytorchjobs", "night") is None
    if cascade == "orphan":
        assert cluster.phase("night-master-0") == "Running"
    else:
        cluster.until(lambda: cluster.objects("pods") == [], "the pod is gone", 60)

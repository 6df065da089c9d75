"""What goes wrong between kubectl and a cluster, in kubectl's own words: each can be brought about."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml

from tests.kubernetes.api import cel_rules
from tests.kubernetes.api.cluster import Kubernetes
from tests.kubernetes.api.settings import Node
from tests.remote.kubernetes.crd import FOLDER
from tests.remote.kubernetes.variants import ALIKE, ONE, TWO, VOLUMES, Variant, made

Table = dict[str, object]
schemas = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"{FOLDER} is not here: it has the schemas of the operators, which are not ours"
)


def manifest(folder: Path, toml: str = ONE, kind: str = "pytorchjob") -> Path:
    """The run `night`, written to a file."""
    file = folder / "night.yaml"
    file.write_text(made(folder, Variant(kind, toml)).text)  # type: ignore[arg-type]
    return file


def refused(cluster: Kubernetes, *words: str | Path, given: str | None = None, kubeconfig: Path | None = None) -> str:
    """What kubectl says of it."""
    done = cluster.kubectl(*words, given=given, kubeconfig=kubeconfig)
    assert done.returncode != 0, done.stdout
    return done.stderr


def test_a_kubectl_that_is_pointed_at_nothing(cluster: Kubernetes, tmp_path: Path) -> None:
    other = cluster.kubeconfig_with(context="production")
    assert "context was not found for specified context: production" in refused(
        cluster, "get", "pods", kubeconfig=other
    )
    other = cluster.kubeconfig_with(token="old")
    assert "You must be logged in to the server" in refused(cluster, "get", "pods", kubeconfig=other)
    other = cluster.kubeconfig_with(server="https://127.0.0.1:1")
    assert "was refused" in refused(cluster, "get", "pods", kubeconfig=other)
    empty = tmp_path / "empty"
    empty.write_text("")
    assert "localhost:8080" in refused(cluster, "get", "pods", kubeconfig=empty)
    other = cluster.kubeconfig_with(namespace="absent")
    assert 'namespaces "absent" not found' in refused(cluster, "apply", "-f", manifest(tmp_path), kubeconfig=other)


def test_a_user_who_may_not(cluster: Kubernetes, tmp_path: Path) -> None:
    cluster.forbid("create", "pytorchjobs")
    cluster.forbid("create", "pods/exec")
    cluster.hold("ContainerCreating")
    said = refused(cluster, "apply", "--server-side", "-f", manifest(tmp_path))
    asked = cluster.kubectl("auth", "can-i", "create", "pytorchjobs")
    assert (asked.returncode, asked.stdout) == (1, "no\n")
    assert cluster.kubectl("auth", "can-i", "create", "configmaps").stdout == "yes\n"
    assert cluster.kubectl("auth", "can-i", "create", "pods", "--subresource=exec").stdout == "no\n"
    assert 'pytorchjobs.kubeflow.org "night" is forbidden: User "tester" cannot create resource "pytorchjobs"' in said
    assert 'in API group "kubeflow.org" in the namespace "default"' in said
    cluster.forbid("list", "pods")
    assert 'cannot list resource "pods"' in refused(cluster, "get", "pods")


def test_a_cluster_without_the_operator(cluster: Kubernetes, tmp_path: Path) -> None:
    cluster.remove_kind("pytorchjobs")
    said = refused(cluster, "apply", "-f", manifest(tmp_path))
    assert 'no matches for kind "PyTorchJob" in version "kubeflow.org/v1"' in said
    assert "ensure CRDs are installed first" in said
    assert "the server doesn't have a resource type" in refused(cluster, "get", "pytorchjobs")


def test_a_name_that_is_taken(cluster: Kubernetes, tmp_path: Path) -> None:
    cluster.hold("ContainerCreating")
    file = manifest(tmp_path)
    assert cluster.kubectl("create", "-f", file).returncode == 0
    assert 'pytorchjobs.kubeflow.org "night" already exists' in refused(cluster, "create", "-f", file)


def test_a_quota_and_a_webhook(cluster: Kubernetes, tmp_path: Path) -> None:
    cluster.hold("ContainerCreating")
    cluster.quota["persistentvolumeclaims"] = 0
    file = manifest(tmp_path, TWO + VOLUMES)
    assert "exceeded quota: team, requested: persistentvolumeclaims=1" in refused(cluster, "apply", "-f", file)
    assert cluster.object("pytorchjobs", "night") is not None  # kubectl goes on with what follows
    assert cluster.kubectl("delete", "pytorchjob", "night").returncode == 0
    cluster.quota["persistentvolumeclaims"] = 3
    cluster.refuse_admission("pytorchjobs", "images must come from registry.example")
    assert "denied the request: images must come from registry.example" in refused(cluster, "apply", "-f", file)
    cluster.settings.refused.clear()
    cluster.quota["pods"] = 0
    assert cluster.kubectl("apply", "-f", file).returncode == 0
    cluster.until(lambda: any(event["reason"] == "FailedCreatePod" for event in cluster.objects("events")))
    assert cluster.objects("pods") == []


def test_a_server_that_is_busy(cluster: Kubernetes) -> None:
    cluster.fails_for(1000)
    assert "currently unable to handle the request" in refused(cluster, "get", "pods")
    cluster.fails_for(0)
    assert cluster.kubectl("get", "pods").returncode == 0


@pytest.mark.parametrize(
    ("toml", "prepare", "why"),
    [
        (ALIKE, "nodes", "2 Insufficient nvidia.com/gpu"),
        (ALIKE, "hold", "Too many pods"),
        (TWO + VOLUMES, "classes", "pod has unbound immediate PersistentVolumeClaims"),
        (TWO + '[kubernetes]\nworkspace_claim = "absent"\n', "", 'persistentvolumeclaim "absent" not found'),
    ],
)
def test_pods_that_find_no_node_say_why(cluster: Kubernetes, tmp_path: Path, toml: str, prepare: str, why: str) -> None:
    if prepare == "nodes":
        cluster.nodes = [Node("node-0", gpus=0), Node("node-1", gpus=0)]
    elif prepare == "hold":
        cluster.hold("Unschedulable", "0/3 nodes are available: 3 Too many pods.")
    elif prepare == "classes":
        cluster.storage_classes = {"standard"}
    assert cluster.kubectl("apply", "-f", manifest(tmp_path, toml)).returncode == 0
    cluster.until(lambda: why in cluster.kubectl("get", "events").stdout, why, 20)
    query = "jsonpath={.status.phase} {.status.conditions[?(@.type=='PodScheduled')].message}"
    said = cluster.kubectl("get", "pod", "night-master-0", "-o", query).stdout
    assert said.startswith("Pending 0/")
    assert why in said
    assert cluster.kubectl("delete", "pytorchjob", "night").returncode == 0
    cluster.until(lambda: cluster.objects("pods") == [])


def test_an_image_that_is_not_there(cluster: Kubernetes, tmp_path: Path) -> None:
    cluster.images = {"motley:elsewhere"}
    assert cluster.kubectl("apply", "-f", manifest(tmp_path)).returncode == 0
    cluster.until(lambda: cluster.phase("night-master-0") == "ImagePullBackOff")
    assert "ImagePullBackOff" in cluster.kubectl("get", "pods").stdout
    assert "trying and failing to pull image" in refused(cluster, "logs", "night-master-0")
    assert "container not found" in refused(cluster, "exec", "night-master-0", "--", "true")


def job(**changes: object) -> str:
    """A PyTorchJob that is right, but for what is changed in its Master."""
    template = {"spec": {"containers": [{"name": "pytorch", "image": "motley"}]}}
    master = {"replicas": 1, "restartPolicy": "ExitCode", "template": template, **changes}
    table = {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": {"name": "night"}}
    return str(yaml.safe_dump({**table, "spec": {"pytorchReplicaSpecs": {"Master": master}}}))


def test_what_a_webhook_of_the_operator_refuses(cluster: Kubernetes) -> None:
    assert "must be 1" in refused(cluster, "apply", "-f", "-", given=job(replicas=2))
    other = {"spec": {"containers": [{"name": "trainer", "image": "motley"}]}}
    assert "container with name pytorch" in refused(cluster, "apply", "-f", "-", given=job(template=other))
    train = {"apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "metadata": {"name": "night"}}
    spec = {"runtimeRef": {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": "absent"}}
    said = refused(cluster, "apply", "-f", "-", given=yaml.safe_dump({**train, "spec": spec}))
    assert 'TrainingRuntime.trainer.kubeflow.org "absent" not found' in said


def test_what_a_configmap_can_not_hold(cluster: Kubernetes) -> None:
    large = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"}, "data": {"x": "x" * 2**18}}
    said = refused(cluster, "apply", "-f", "-", given=yaml.safe_dump(large))  # it would be an annotation, too
    assert "metadata.annotations: Too long: may not be more than 262144 bytes" in said
    assert cluster.kubectl("apply", "--server-side", "-f", "-", given=yaml.safe_dump(large)).returncode == 0
    named = {**large, "metadata": {"name": "Large_One"}, "data": {"x": "1"}}
    assert "a lowercase RFC 1123 subdomain" in refused(cluster, "apply", "-f", "-", given=yaml.safe_dump(named))


@schemas
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"restart": "Never"}, 'strict decoding error: unknown field "spec.pytorchReplicaSpecs.Master.restart"'),
        ({"replicas": "one"}, 'in body must be of type integer: "string"'),
        ({"template": {"spec": {"volumes": []}}}, "template.spec.containers: Required value"),
    ],
)
def test_what_the_schema_of_the_operator_refuses(cluster: Kubernetes, changes: dict[str, object], said: str) -> None:
    assert said in refused(cluster, "apply", "-f", "-", given=job(**changes))


@schemas
@pytest.mark.skipif(
    not cel_rules.can_evaluate(), reason="no evaluator of CEL is installed (common-expression-language)"
)
def test_what_a_rule_in_cel_refuses(cluster: Kubernetes, tmp_path: Path) -> None:
    cluster.hold("ContainerCreating")
    file = manifest(tmp_path, ONE, "trainjob")
    assert cluster.kubectl("apply", "--server-side", "-f", file).returncode == 0
    text = file.read_text()
    train = next(table for table in yaml.safe_load_all(text) if table["kind"] == "TrainJob")
    train["spec"]["managedBy"] = "somebody"
    said = refused(cluster, "apply", "--server-side", "-f", "-", given=yaml.safe_dump(train))
    assert "ManagedBy must be trainer.kubeflow.org/trainjob-controller or kueue.x-k8s.io/multikueue if set" in said
    train["spec"].pop("managedBy")
    train["metadata"]["name"] = "1night"
    said = refused(cluster, "apply", "--server-side", "-f", "-", given=yaml.safe_dump(train))
    assert "metadata.name must match RFC 1035 DNS label format" in said
    train["metadata"]["name"] = "night"
    train["spec"]["trainer"] = {"numNodes": 1}
    assert cluster.kubectl("apply", "--server-side", "-f", "-", given=yaml.safe_dump(train)).returncode == 0
    train["spec"]["trainer"] = {"numNodes": 2}
    assert "field is immutable" in refused(cluster, "apply", "--server-side", "-f", "-", given=yaml.safe_dump(train))


def test_time_is_told_in_utc_wherever_the_machine_is(cluster: Kubernetes) -> None:
    made_at = cluster.objects("namespaces")[0]["metadata"]["creationTimestamp"]
    assert made_at[:13] in (time.strftime("%Y-%m-%dT%H", time.gmtime(t)) for t in (time.time(), time.time() - 60))

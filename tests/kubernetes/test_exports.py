"""Every kind of manifest that `motley export kubernetes` writes: the real kubectl has them validated and applied."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.kubernetes.api.cluster import Kubernetes
from tests.remote.kubernetes.variants import VARIANTS, made

RESOURCES = "pytorchjobs,jobsets,trainjobs,trainingruntimes,configmaps,secrets"


def are_there(cluster: Kubernetes, pods: int) -> bool:
    return len(cluster.objects("pods")) == pods


@pytest.mark.parametrize(("kind", "pods"), [("pytorchjob", 10), ("jobset", 3), ("trainjob", 3)])
def test_all_variants_are_accepted_and_make_their_pods(
    cluster: Kubernetes, tmp_path: Path, kind: str, pods: int
) -> None:
    """Nothing is started: what they need of GPUs and images is not there."""
    cluster.hold("Unschedulable", "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    chosen = {name: variant for name, variant in VARIANTS.items() if variant.kind == kind}
    assert len(chosen) == pods
    for number, variant in enumerate(chosen.values()):
        found = made(tmp_path, variant, run=f"night-{number}")
        file = tmp_path / f"{number}.yaml"
        file.write_text(found.text)
        if not number and kind != "trainjob":  # whose runtime would have to be there
            dry = cluster.kubectl("apply", "--server-side", "--dry-run=server", "-f", file)
            assert dry.returncode == 0, dry.stderr
        done = cluster.kubectl("apply", *(["--server-side"] if number % 2 else []), "-f", file)
        assert done.returncode == 0, done.stderr
        documents = list(yaml.safe_load_all(found.text))
        assert len(done.stdout.splitlines()) == len(documents)
        space = next((one["metadata"]["namespace"] for one in documents if "namespace" in one["metadata"]), "default")
        where = ["--namespace", space, "-l", f"motley-run=night-{number}"]
        hosts: list[str] = yaml.safe_load(
            next(one for one in documents if one["kind"] == "ConfigMap")["data"]["run.json"]
        )["hosts"]
        cluster.until(partial(are_there, cluster, len(hosts)), f"the pods of {number}", 30)
        shown = cluster.kubectl("get", "pods", *where).stdout.splitlines()[1:]
        assert [line.split()[2] for line in shown] == ["Pending"] * len(hosts)
        assert cluster.kubectl("delete", RESOURCES, *where).returncode == 0
        if "PersistentVolumeClaim" in found.text:
            assert cluster.kubectl("delete", "persistentvolumeclaims", "--all", *where[:2]).returncode == 0
        cluster.until(lambda: cluster.objects("pods") == [], "no pod is left", 30)
        assert cluster.objects("jobs") == []

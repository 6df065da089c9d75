"""The volumes of a run's pods: which there are, where they are mounted, and which pods have them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from motley.remote.config import value_rules
from motley.remote.config.cluster import Cluster
from motley.remote.config.sections import KubernetesKeys
from motley.remote.kubernetes.pods import Group

WORKSPACE = "/workspace"  # the home of every pod
TEXTS = {
    "workspace": "The home of the run: its logs, checkpoints and results, also when its pods are gone.",
    "models": "Models of the hub: the first run downloads them, the next ones find them.",
    "tracker": "The files of a tracker such as Aim; the pod that leads writes them.",
}
VARIABLES = {"models": ("HF_HOME", "/models"), "tracker": ("AIM_REPO", "/tracker")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    name: str  # workspace, models, tracker
    claim: str
    size: str | None  # None: the claim is there already

    @property
    def path(self) -> str:
        return f"/{self.name}"


def volumes(cluster: Cluster) -> tuple[Volume, ...]:
    """Those that cluster.toml asks for; the claims of several runs of a cluster are the same."""
    keys, named = cluster.kubernetes, value_rules.nearest_label(cluster.name)
    wanted = [
        (name, getattr(keys, name), getattr(keys, f"{name}_claim")) for name in TEXTS
    ]  # fmt: skip
    return tuple(
        Volume(name=name, claim=claim or f"{named}-{name}", size=None if claim else size)
        for name, size, claim in wanted
        if size or claim
    )


def of_group(cluster: Cluster, group: Group) -> tuple[Volume, ...]:
    """What the pods of a group have of them: what only one node may mount, and the tracker, has the one that leads."""
    shared = cluster.kubernetes.access == "ReadWriteMany"
    return tuple(v for v in volumes(cluster) if group.leads or (shared and v.name != "tracker"))


def claim(volume: Volume, keys: KubernetesKeys, metadata: dict[str, Any]) -> dict[str, Any]:
    """The document that asks for it."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {**metadata, "name": volume.claim},
        "spec": {
            "#accessModes": "ReadWriteMany: pods on several nodes write to it, as on NFS or CephFS."
            if keys.access == "ReadWriteMany"
            else "ReadWriteOnce: the pods of one node write to it. Only the one that leads does.",
            "accessModes": [keys.access],
            **({"storageClassName": keys.storage_class} if keys.storage_class else {}),
            "resources": {"requests": {"storage": volume.size}},
        },
    }

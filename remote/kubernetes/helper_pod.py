"""A short pod that mounts the workspace of a cluster's runs, for what is there to be fetched without theirs. Pure.

>>> helper_pod(cluster, "motley-fetch-1f")["spec"]["volumes"]
[{'name': 'workspace', 'persistentVolumeClaim': {'claimName': 'cards-workspace'}}]
"""

from __future__ import annotations

from typing import Any

from motley.remote.config.cluster import Cluster
from motley.remote.errors import UsageError
from motley.remote.kubernetes.documents import metadata_of
from motley.remote.kubernetes.pod_template import image_of
from motley.remote.kubernetes.volumes import WORKSPACE, volumes

LASTS_S = 3600  # and ends by itself, should nobody delete it
CONTAINER = "fetch"


def helper_pod(cluster: Cluster, name: str) -> dict[str, Any]:
    """Raises UsageError for a cluster whose runs keep nothing."""
    volume = next((volume for volume in volumes(cluster) if volume.name == "workspace"), None)
    if volume is None:
        text = "cluster.toml has no [kubernetes] workspace: what the pods of a run had is gone with them"
        raise UsageError(f'{text}; workspace = "20Gi" keeps it, from the next run on')
    keys = cluster.kubernetes
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata_of(cluster, name, {"motley-fetch": name}),
        "spec": {
            **({"serviceAccountName": keys.service_account} if keys.service_account else {}),
            "automountServiceAccountToken": False,
            "restartPolicy": "Never",
            "activeDeadlineSeconds": LASTS_S,
            "terminationGracePeriodSeconds": 1,
            **({"imagePullSecrets": [{"name": keys.pull_secret}]} if keys.pull_secret else {}),
            "containers": [
                {
                    "name": CONTAINER,
                    "image": image_of(cluster),
                    "imagePullPolicy": keys.pull_policy,
                    "command": ["sleep", str(LASTS_S)],
                    "env": [{"name": "HOME", "value": WORKSPACE}],
                    "volumeMounts": [{"name": "workspace", "mountPath": WORKSPACE}],
                }
            ],
            "volumes": [{"name": "workspace", "persistentVolumeClaim": {"claimName": volume.claim}}],
        },
    }

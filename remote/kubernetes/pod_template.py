"""The template of the pods of one group: image, what they ask for, volumes, and the command that starts their part.

Pure: tables in the form of Kubernetes, with comments as `remote.kubernetes.yaml_text` reads them.
"""

from __future__ import annotations

import math
from typing import Any

from motley import __version__
from motley.remote.config.cluster import Cluster
from motley.remote.kubernetes.pods import Group, gpus_of
from motley.remote.kubernetes.volumes import VARIABLES, WORKSPACE, of_group

FOLDER = "/motley"  # where the run's description is mounted
RUN_FILE = "run.json"
LABEL = "motley-run"
END_S = 30  # of a pod, besides what ranks are given to stop
MESHES = {"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"}


def image_of(cluster: Cluster) -> str:
    return cluster.kubernetes.image or f"motley:{__version__}"


def template(
    cluster: Cluster, run: str, group: Group, *, container: str, secrets: tuple[str, ...], env: list[dict[str, Any]]
) -> dict[str, Any]:
    """`secrets`: variables that are in the run's Secret. `env`: what the kind of manifest has the pod know."""
    keys = cluster.kubernetes
    meshes = {} if keys.sidecars else {"annotations": MESHES}
    labels = {LABEL: run, **({} if keys.sidecars else {"sidecar.istio.io/inject": "false"})}
    mesh_comment = {} if keys.sidecars else {"#annotations": "A proxy beside it would stay when the run has ended."}
    return {
        "metadata": {"labels": labels, **mesh_comment, **meshes},
        "spec": {
            **({"serviceAccountName": keys.service_account} if keys.service_account else {}),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            **({"imagePullSecrets": [{"name": keys.pull_secret}]} if keys.pull_secret else {}),
            **_where(cluster, run, group),
            "#terminationGracePeriodSeconds": "For a last checkpoint of the pod that leads.",
            "terminationGracePeriodSeconds": math.ceil(cluster.run.stop_grace_s) + END_S,
            "containers": [_container(cluster, run, group, name=container, secrets=secrets, env=env)],
            "volumes": _volumes(cluster, run, group),
        },
    }


def _where(cluster: Cluster, run: str, group: Group) -> dict[str, Any]:
    """Which nodes it may run on."""
    gpu = cluster.kubernetes.gpu_resource
    tolerations = [{"key": gpu, "operator": "Exists", "effect": "NoSchedule"}]
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {LABEL: run}}}
    return {
        **({"nodeSelector": dict(group.of.node_selector)} if group.of.node_selector else {}),
        **({"tolerations": tolerations} if gpus_of(group.of) else {}),
        "#affinity": "Each pod on a node of its own, where there are enough.",
        "affinity": {
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]
            }
        },
    }


def _container(
    cluster: Cluster, run: str, group: Group, *, name: str, secrets: tuple[str, ...], env: list[dict[str, Any]]
) -> dict[str, Any]:
    meet = {"#name": "Where the ranks meet, on the pod that leads.", "name": "pytorchjob-port"}
    ports: list[dict[str, Any]] = [{**meet, "containerPort": cluster.port}]
    if cluster.coordinator_port != cluster.port:
        ports.append({"name": "coordinator", "containerPort": cluster.coordinator_port})
    mounts: list[dict[str, Any]] = [
        {"name": "run", "mountPath": FOLDER, "readOnly": True},
        {"name": "shm", "mountPath": "/dev/shm"},
    ]
    mounts += [{"name": volume.name, "mountPath": volume.path} for volume in of_group(cluster, group)]
    if not any(mount["mountPath"] == WORKSPACE for mount in mounts):
        mounts.append({"name": "workspace", "mountPath": WORKSPACE})
    return {
        "name": name,
        "image": image_of(cluster),
        "imagePullPolicy": cluster.kubernetes.pull_policy,
        "#command": "Starts this pod's part of the run, prints what happens as lines of JSON, and ends with the run.",
        "command": ["python3", "-m", "motley.trainer", "pod", "--description", f"{FOLDER}/{RUN_FILE}"],
        "env": _variables(cluster, run, group, secrets) + env,
        "ports": ports,
        **_resources(cluster, group),
        "volumeMounts": mounts,
    }


def _variables(cluster: Cluster, run: str, group: Group, secrets: tuple[str, ...]) -> list[dict[str, Any]]:
    keys, given = cluster.kubernetes, dict(group.of.env)
    usual = {"HOME": WORKSPACE, "PYTHONUNBUFFERED": "1"}
    if keys.interface:
        usual |= {"GLOO_SOCKET_IFNAME": keys.interface, "NCCL_SOCKET_IFNAME": f"={keys.interface}"}
    mounted = {volume.name for volume in of_group(cluster, group)}
    usual |= {name: value for volume, (name, value) in VARIABLES.items() if volume in mounted}
    if cluster.run.program is not None:
        usual["OUTPUT_DIR"] = f"{WORKSPACE}/{run}"
    values = {**usual, **given}
    field = {"fieldRef": {"fieldPath": "status.podIP"}}
    return [
        *({"name": name, "value": value} for name, value in values.items()),
        *(
            {"name": name, "valueFrom": {"secretKeyRef": {"name": run, "key": name}}}
            for name in secrets
            if name == "MOTLEY_TOKEN" or name in group.of.pass_env
        ),
        {"name": "MOTLEY_POD_IP", "valueFrom": field},
        {"name": "MOTLEY_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
    ]


def _resources(cluster: Cluster, group: Group) -> dict[str, Any]:
    host, gpus = group.of, gpus_of(group.of)
    asked: dict[str, str] = {}
    if host.cpus is not None:
        asked["cpu"] = f"{round(host.cpus * 1000)}m" if host.cpus % 1 else str(int(host.cpus))
    limits: dict[str, str] = {}
    if host.memory is not None:
        asked["memory"] = limits["memory"] = host.memory
    if gpus:
        asked[cluster.kubernetes.gpu_resource] = limits[cluster.kubernetes.gpu_resource] = str(gpus)
    parts = {name: table for name, table in (("requests", asked), ("limits", limits)) if table}
    return {"resources": parts} if parts else {}


def _volumes(cluster: Cluster, run: str, group: Group) -> list[dict[str, Any]]:
    mine = of_group(cluster, group)
    found: list[dict[str, Any]] = [
        {"name": "run", "configMap": {"name": run}},
        {
            "#name": "Processes of a pod hand data to each other here; Kubernetes gives 64 MiB by itself.",
            "name": "shm",
            "emptyDir": {"medium": "Memory", "sizeLimit": cluster.kubernetes.shm},
        },
        *({"name": v.name, "persistentVolumeClaim": {"claimName": v.claim}} for v in mine),
    ]
    if all(volume.name != "workspace" for volume in mine):
        found.append({"#name": "Goes with the pod.", "name": "workspace", "emptyDir": {}})
    return found

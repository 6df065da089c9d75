"""What the cluster's DNS knows: the addresses behind the names of headless services. Pure.

| name in the namespace `default` | stands for |
|---|---|
| `night-master-0.default.svc.cluster.local` | all pods that the service `night-master-0` selects |
| `night-gpu-0-0.night.default.svc.cluster.local` | the one of them with this hostname, in this subdomain |

A pod is there while it runs; one that is being deleted only where its service publishes those that are not ready.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

Object = dict[str, Any]
DOMAIN = "svc.cluster.local"


def search(namespace: str) -> tuple[str, ...]:
    """The domains in which a pod looks for a short name, as the kubelet writes them."""
    return f"{namespace}.{DOMAIN}", DOMAIN, DOMAIN.partition(".")[2]


def own_names(pod: Object) -> list[str]:
    """Those of the pod itself, the whole one first."""
    spec, hostname = pod["spec"], hostname_of(pod)
    whole = f"{hostname}.{spec['subdomain']}.{pod['metadata']['namespace']}.{DOMAIN}" if "subdomain" in spec else ""
    return [name for name in (whole, hostname) if name]


def hostname_of(pod: Object) -> str:
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])


def addresses(name: str, services: Sequence[Object], pods: Sequence[Object]) -> list[str]:
    """Of a whole name, its letters large or small, with or without a dot at its end; empty when there is none such."""
    found = re.fullmatch(rf"(?:([^.]+)\.)?([^.]+)\.([^.]+)\.{re.escape(DOMAIN)}\.?", name.lower())
    if found is None:
        return []
    hostname, *place = found.groups()
    behind = [s for s in services if [s["metadata"]["name"], s["metadata"]["namespace"]] == place]
    return [pod["status"]["podIP"] for service in behind for pod in pods if _is_behind(service, pod, hostname)]


def _is_behind(service: Object, pod: Object, hostname: str | None) -> bool:
    """With a hostname only the pod that has it, in the service's domain."""
    spec, metadata, status = service["spec"], pod["metadata"], pod.get("status", {})
    wanted, labels = spec.get("selector") or {}, metadata.get("labels") or {}
    if metadata["namespace"] != service["metadata"]["namespace"] or not wanted or not wanted.items() <= labels.items():
        return False
    if status.get("phase") != "Running" or "podIP" not in status:
        return False
    if "deletionTimestamp" in metadata and not spec.get("publishNotReadyAddresses", False):
        return False
    domain = service["metadata"]["name"]
    return hostname is None or (pod["spec"].get("subdomain") == domain and hostname_of(pod) == hostname)

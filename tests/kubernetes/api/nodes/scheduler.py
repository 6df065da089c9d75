"""Where a pod may run, and why it may not: in the words of Kubernetes' own scheduler. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.kubernetes.api.settings import Node

Object = dict[str, Any]
UNITS = {
    "": 1.0,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}


def quantity(text: str) -> float:
    found = re.fullmatch(r"([\d.]+)([A-Za-z]*)", str(text))
    assert found, text
    return float(found[1]) * UNITS[found[2]]


def asked(pod: Object) -> Counter[str]:
    """Of all its containers: what is limited is asked for, too."""
    whole: Counter[str] = Counter()
    for container in pod["spec"]["containers"]:
        resources = container.get("resources") or {}
        for name, text in {**resources.get("limits", {}), **resources.get("requests", {})}.items():
            whole[name] += quantity(text)  # type: ignore[assignment]
    return whole


def place(pod: Object, nodes: Sequence[Node], others: Sequence[Object]) -> tuple[str, str]:
    """The name of a node, or why there is none. `others`: pods that are somewhere already."""
    reasons: Counter[str] = Counter()
    fitting: list[tuple[int, str]] = []
    for node in nodes:
        here = [other for other in others if other["spec"].get("nodeName") == node.name]
        if why := _obstacle(pod, node, here):
            reasons[why] += 1
        else:
            fitting.append((len(here), node.name))
    if fitting:
        return min(fitting)[1], ""
    said = ", ".join(f"{count} {why}" for why, count in sorted(reasons.items()))
    return "", f"0/{len(nodes)} nodes are available: {said}. preemption: 0/{len(nodes)} nodes are available."


def _obstacle(pod: Object, node: Node, here: Sequence[Object]) -> str:
    labels = {"kubernetes.io/hostname": node.name, **node.labels}
    if any(labels.get(name) != value for name, value in (pod["spec"].get("nodeSelector") or {}).items()):
        return "node(s) didn't match Pod's node affinity/selector"
    room = {"cpu": node.cpus, "memory": quantity(node.memory), node.gpu_resource: float(node.gpus)}
    used: Counter[str] = sum((asked(other) for other in here), Counter())
    for name, amount in asked(pod).items():
        if amount > room.get(name, 0.0) - used[name]:
            return f"Insufficient {name}"
    return ""

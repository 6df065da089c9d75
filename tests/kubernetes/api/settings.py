"""What a test can set of a cluster, while it runs: what is forbidden, what is scarce, what is not there."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
GPU = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    cpus: float = 16.0
    memory: str = "64Gi"
    gpus: int = 8
    labels: dict[str, str] = field(default_factory=dict)
    gpu_resource: str = GPU


def usual_nodes() -> list[Node]:
    return [Node(f"node-{number}") for number in range(3)]


@dataclass(slots=True)
class Settings:
    token: str
    user: str = "tester"
    forbidden: set[tuple[str, str]] = field(default_factory=set)  # verb, resource as its plural
    quota: dict[str, int] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)  # plurals
    refused: dict[str, str] = field(default_factory=dict)  # plural -> what a webhook says
    failing_until: float = 0.0  # of `time.monotonic`
    nodes: list[Node] = field(default_factory=usual_nodes)
    images: set[str] | None = None
    python: str = sys.executable  # in every image
    storage_classes: set[str] = field(default_factory=lambda: {"standard", "nfs"})
    held: dict[str, tuple[str, str]] = field(default_factory=dict)  # pod, or "" for all -> reason, message
    left: set[str] = field(default_factory=set)  # uids of pods that no job replaces

    def is_forbidden(self, verb: str, resource: str) -> bool:
        return any(one in self.forbidden for one in ((verb, resource), ("*", resource), (verb, "*"), ("*", "*")))

    def reason_to_hold(self, pod: str) -> tuple[str, str] | None:
        return self.held.get(pod) or self.held.get("")

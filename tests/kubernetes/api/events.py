"""Events of a cluster: why a pod waits, what a job could not do. Each is told once."""

from __future__ import annotations

from typing import Any

from tests.kubernetes.api.resources import EVENTS
from tests.kubernetes.api.store import Store, now

Object = dict[str, Any]


def tell(
    store: Store, of: Object, reason: str, message: str, *, kind: str = "Warning", source: str = "kubelet"
) -> None:
    metadata = of["metadata"]
    namespace = metadata.get("namespace", "default")
    for event in store.list("events", namespace):
        meant = event["involvedObject"]
        if (meant["uid"], event["reason"], event["message"]) == (metadata["uid"], reason, message):
            return
    about = {"kind": of["kind"], "apiVersion": of["apiVersion"], "name": metadata["name"], "uid": metadata["uid"]}
    moment = now()
    table = {
        "metadata": {"generateName": f"{metadata['name']}."},
        "involvedObject": {**about, "namespace": namespace},
        "reason": reason,
        "message": message,
        "type": kind,
        "count": 1,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "source": {"component": source},
    }
    store.create(EVENTS, namespace, table)

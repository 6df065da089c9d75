"""What `kubectl get` shows of objects: the server makes the rows. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import Any

Object = dict[str, Any]


def phase(pod: Object) -> str:
    """STATUS of a pod."""
    if "deletionTimestamp" in pod["metadata"]:
        return "Terminating"
    status = pod.get("status", {})
    if "reason" in status:
        return str(status["reason"])
    for container in status.get("containerStatuses", ()):
        state = container["state"]
        if "waiting" in state:
            return str(state["waiting"]["reason"])
        if "terminated" in state:
            return str(state["terminated"]["reason"])
    return str(status.get("phase", "Unknown"))


def _ready(pod: Object) -> str:
    statuses = pod.get("status", {}).get("containerStatuses", [])
    return f"{sum(one['ready'] for one in statuses)}/{len(pod['spec']['containers'])}"


def _restarts(pod: Object) -> int:
    return sum(one["restartCount"] for one in pod.get("status", {}).get("containerStatuses", []))


def _state(job: Object) -> str:
    """The newest condition that holds, as the CRDs of operators show it."""
    held = [one["type"] for one in job.get("status", {}).get("conditions", []) if one["status"] == "True"]
    return str(held[-1]) if held else ""


def _name(table: Object) -> str:
    return str(table["metadata"]["name"])


def age(table: Object) -> str:
    made = datetime.datetime.strptime(table["metadata"]["creationTimestamp"], "%Y-%m-%dT%H:%M:%SZ")
    seconds = (datetime.datetime.now(datetime.timezone.utc) - made.replace(tzinfo=datetime.timezone.utc)).seconds
    return f"{seconds}s" if seconds < 120 else f"{seconds // 60}m"


Column = tuple[str, Callable[[Object], Any]]
NAME: Column = ("Name", _name)
AGE: Column = ("Age", age)
STATE: Column = ("State", _state)
COLUMNS: dict[str, Sequence[Column]] = {
    "pods": (NAME, ("Ready", _ready), ("Status", phase), ("Restarts", _restarts), AGE),
    "persistentvolumeclaims": (
        NAME,
        ("Status", lambda claim: claim.get("status", {}).get("phase", "")),
        ("Capacity", lambda claim: claim.get("status", {}).get("capacity", {}).get("storage", "")),
        ("StorageClass", lambda claim: claim["spec"].get("storageClassName", "")),
        AGE,
    ),
    "events": (
        ("Last Seen", age),
        ("Type", lambda event: event["type"]),
        ("Reason", lambda event: event["reason"]),
        ("Object", lambda event: f"{event['involvedObject']['kind'].lower()}/{event['involvedObject']['name']}"),
        ("Message", lambda event: event["message"]),
    ),
    "pytorchjobs": (NAME, STATE, AGE),
    "trainjobs": (NAME, STATE, AGE),
    "jobsets": (NAME, STATE, AGE),
}


def table_of(plural: str, objects: Sequence[Object], *, version: str, whole: bool) -> Object:
    """`whole`: rows have the objects themselves, not only their metadata."""
    columns = COLUMNS.get(plural, (NAME, AGE))
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
    rows = [
        {
            "cells": [value(one) for _, value in columns],
            "object": one if whole else {**partial, "metadata": one["metadata"]},
        }
        for one in objects
    ]
    definitions = [
        {
            "name": name,
            "type": "integer" if name == "Restarts" else "string",
            "format": "name" if name == "Name" else "",
            "description": "",
            "priority": 0,
        }
        for name, _ in columns
    ]
    kind = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": version}}
    return {**kind, "columnDefinitions": definitions, "rows": rows}

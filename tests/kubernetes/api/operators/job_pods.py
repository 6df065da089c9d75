"""Which pods an operator makes of a job: their names, labels, and the variables that it adds. Pure."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from tests.kubernetes.api.store import owner_of

Object = dict[str, Any]
KUBEFLOW, JOBSET, BATCH = "training.kubeflow.org", "jobset.sigs.k8s.io", "batch.kubernetes.io"
INDEX = f"{BATCH}/job-completion-index"
JOBSET_NAME = f"{JOBSET}/jobset-name"
PORT = "23456"
REPLICA_TYPE, REPLICA_INDEX = f"{KUBEFLOW}/replica-type", f"{KUBEFLOW}/replica-index"


@dataclass(frozen=True, slots=True)
class Wanted:
    name: str
    template: Object
    labels: dict[str, str]
    spec: Object

    @property
    def place(self) -> dict[str, str]:
        """The labels by which a service selects the pod of a PyTorchJob that has this place, and none besides."""
        return {name: self.labels[name] for name in (f"{KUBEFLOW}/job-name", REPLICA_TYPE, REPLICA_INDEX)}

    def metadata(self, owner: Object) -> Object:
        mine = self.template.get("metadata") or {}
        annotations = {
            **(mine.get("annotations") or {}),
            **({INDEX: self.labels[INDEX]} if INDEX in self.labels else {}),
        }
        labels = {**(mine.get("labels") or {}), **self.labels}
        return {"name": self.name, "labels": labels, "annotations": annotations, "ownerReferences": [owner_of(owner)]}


def of_pytorchjob(job: Object) -> list[Wanted]:
    """The Master first."""
    name, replicas = job["metadata"]["name"], job["spec"]["pytorchReplicaSpecs"]
    places = [
        (kind, index)
        for kind in ("Master", "Worker")
        for index in range(replicas.get(kind, {}).get("replicas", kind in replicas))
    ]
    found = []
    for rank, (kind, index) in enumerate(places):
        template = replicas[kind]["template"]
        spec = copy.deepcopy(template["spec"])
        spec["restartPolicy"] = "Never" if replicas[kind].get("restartPolicy") == "ExitCode" else "OnFailure"
        for container in spec["containers"]:
            port = next(
                (str(one["containerPort"]) for one in container.get("ports", ()) if one["name"] == "pytorchjob-port"),
                PORT,
            )
            given = {"PYTHONUNBUFFERED": "1", "MASTER_PORT": port, "MASTER_ADDR": f"{name}-master-0"}
            given |= {
                "WORLD_SIZE": str(len(places)),
                "RANK": str(rank),
                "PET_MASTER_PORT": port,
                "PET_NPROC_PER_NODE": "auto",
            }
            given |= {"PET_MASTER_ADDR": f"{name}-master-0", "PET_NODE_RANK": str(rank), "PET_NNODES": str(len(places))}
            _add(container, given)
        labels = {f"{KUBEFLOW}/job-name": name, f"{KUBEFLOW}/operator-name": "pytorchjob-controller"}
        labels |= {REPLICA_TYPE: kind.lower(), REPLICA_INDEX: str(index)}
        labels |= {f"{KUBEFLOW}/job-role": "master"} if kind == "Master" else {}
        found.append(Wanted(f"{name}-{kind.lower()}-{index}", template, labels, spec))
    return found


def job_of(jobset: Object, replicated: Object, index: int) -> Object:
    """A Job of a JobSet, to be created."""
    set_name, group = jobset["metadata"]["name"], replicated["name"]
    name = f"{set_name}-{group}-{index}"
    template = copy.deepcopy(replicated["template"])
    labels = {
        JOBSET_NAME: set_name,
        f"{JOBSET}/replicatedjob-name": group,
        f"{JOBSET}/job-index": str(index),
    }
    pod = template["spec"]["template"]
    pod["metadata"] = {**(pod.get("metadata") or {})}
    pod["metadata"]["labels"] = {**(pod["metadata"].get("labels") or {}), **labels}
    pod["spec"]["subdomain"] = jobset["spec"].get("network", {}).get("subdomain", set_name)
    mine = template.get("metadata") or {}
    metadata = {"name": name, "labels": {**(mine.get("labels") or {}), **labels}, "ownerReferences": [owner_of(jobset)]}
    return {"metadata": metadata, "spec": template["spec"]}


def of_job(job: Object, index: int, end: str) -> Wanted:
    """The pod of an index; `end` tells it from those before it."""
    name, template = job["metadata"]["name"], job["spec"]["template"]
    spec = copy.deepcopy(template["spec"])
    spec["hostname"] = f"{name}-{index}"
    for container in spec["containers"]:
        _add(container, {"JOB_COMPLETION_INDEX": str(index)})
    labels = {f"{BATCH}/job-name": name, "job-name": name, INDEX: str(index)}
    return Wanted(f"{name}-{index}-{end}", template, labels, spec)


def index_of(pod: Object) -> int:
    return int(pod["metadata"]["labels"][INDEX])


def _add(container: Object, given: dict[str, str]) -> None:
    """What the template sets itself holds."""
    there = {one["name"] for one in container.setdefault("env", [])}
    container["env"] += [{"name": name, "value": value} for name, value in given.items() if name not in there]

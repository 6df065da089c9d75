"""The job itself, in three kinds: a PyTorchJob, a JobSet, or a TrainJob with a runtime of its own. Pure.

| kind | of | groups of pods |
|---|---|---|
| pytorchjob | Kubeflow's training-operator v1 | a Master, and Workers that are all alike |
| jobset | JobSet | any |
| trainjob | Kubeflow Trainer v2, which makes a JobSet | any: the TrainingRuntime has them |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from motley.remote.config.cluster import Cluster
from motley.remote.kubernetes.pod_template import template
from motley.remote.kubernetes.pods import Group, groups

Kind = Literal["pytorchjob", "trainjob", "jobset"]
Table = dict[str, Any]
KUBEFLOW = "kubeflow.org"
TRAINER = f"trainer.{KUBEFLOW}"
FOR_GOOD = [1, 4]  # exit codes of a pod after which another one would be of no use: `trainer.pod.start`
REPLACED = 100  # times that pods of a group may be replaced
LEADER_OF: dict[Kind, Callable[[str, str], str]] = {  # under which name the others find the pod that leads
    "pytorchjob": lambda job, _: f"{job}-master-0",
    "jobset": lambda job, group: f"{job}-{group}-0-0.{job}",
    "trainjob": lambda job, group: f"{job}-{group}-0-0.{job}",
}


def names_of_pods(cluster: Cluster, run: str, kind: Kind) -> tuple[str, ...]:
    """Under which all of them find each other, by their numbers."""
    job, (first, *others) = run, groups(cluster)
    if kind == "pytorchjob":
        count = sum(len(group.hosts) for group in others)
        return (LEADER_OF[kind](run, first.name), *(f"{job}-worker-{number}" for number in range(count)))
    return tuple(f"{job}-{group.name}-0-{n}.{job}" for group in (first, *others) for n in range(len(group.hosts)))


LOST = (
    "A pod that is lost is replaced, and joins the run again; the others go on meanwhile. Codes 1 and 4 are the run's "
    "own end: it failed, or was stopped."
)


def job(cluster: Cluster, run: str, kind: Kind, metadata: Table, secrets: tuple[str, ...]) -> list[Table]:
    """The documents of the job, the last of which starts it."""
    if kind == "pytorchjob":
        return [_pytorchjob(cluster, run, metadata, secrets)]
    spec = _jobset(cluster, run, kind, secrets)
    if kind == "jobset":
        return [{"apiVersion": "jobset.x-k8s.io/v1alpha2", "kind": "JobSet", "metadata": metadata, "spec": spec}]
    runtime = {
        "apiVersion": f"{TRAINER}/v1alpha1",
        "kind": "TrainingRuntime",
        "metadata": metadata,
        "spec": {"template": {"spec": spec}},
    }
    start = {
        "apiVersion": f"{TRAINER}/v1alpha1",
        "kind": "TrainJob",
        "metadata": metadata,
        "spec": {"runtimeRef": {"apiGroup": TRAINER, "kind": "TrainingRuntime", "name": run}},
    }
    return [runtime, start]


def _pytorchjob(cluster: Cluster, run: str, metadata: Table, secrets: tuple[str, ...]) -> Table:
    first, *others = groups(cluster)

    def replicas(group: Group, count: int) -> Table:
        return {
            "replicas": count,
            "#restartPolicy": "A pod that ended with a code of 128 or more, as one that was evicted or killed does, is "
            "replaced; the run goes on meanwhile. With a lower one the job has failed.",
            "restartPolicy": "ExitCode",
            "template": template(cluster, run, group, container="pytorch", secrets=secrets, env=[]),
        }

    specs: Table = {"#Master": f"{first.hosts[0]}: it leads, and has rank 0.", "Master": replicas(first, 1)}
    if others:
        hosts = [host for group in others for host in group.hosts]
        specs["#Worker"] = f"{', '.join(hosts)}: in the order of their numbers."
        specs["Worker"] = replicas(others[0], len(hosts))
    return {
        "apiVersion": f"{KUBEFLOW}/v1",
        "kind": "PyTorchJob",
        "metadata": metadata,
        "spec": {
            "#runPolicy": "When the Master is done the job is, and pods that still run are removed.",
            "runPolicy": {"cleanPodPolicy": "Running"},
            "pytorchReplicaSpecs": specs,
        },
    }


def _jobset(cluster: Cluster, run: str, kind: Kind, secrets: tuple[str, ...]) -> Table:
    all_groups = groups(cluster)
    leads = all_groups[0].name
    return {
        "#network": f"The pods find the one that leads by its name, {LEADER_OF[kind](run, leads)}.",
        "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
        "#successPolicy": "When the pod that leads is done, the run is.",
        "successPolicy": {"operator": "All", "targetReplicatedJobs": [leads]},
        "failurePolicy": {"maxRestarts": 0},
        "replicatedJobs": [_replicated(cluster, run, kind, group, leads, secrets) for group in all_groups],
    }


def _replicated(cluster: Cluster, run: str, kind: Kind, group: Group, leads: str, secrets: tuple[str, ...]) -> Table:
    env = [
        {"#name": "The pod's number in the run is this one and its index in the group.", "name": "MOTLEY_POD_FIRST"},
        {"name": "MOTLEY_LEADER", "value": LEADER_OF[kind](run, leads)},
    ]
    env[0]["value"] = str(group.first)
    count = len(group.hosts)
    label = {"metadata": {"labels": {f"{TRAINER}/trainjob-ancestor-step": "trainer"}}}
    rules = [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": FOR_GOOD}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]
    pods = template(cluster, run, group, container="node", secrets=secrets, env=env)
    pods["spec"] = {"restartPolicy": "Never", **pods["spec"]}
    return {
        "#name": f"{', '.join(group.hosts)}{': it leads, and has rank 0' * group.leads}.",
        "name": group.name,
        "replicas": 1,
        "template": {
            **(label if kind == "trainjob" and group.leads else {}),
            "spec": {
                "completions": count,
                "parallelism": count,
                "completionMode": "Indexed",
                "#backoffLimit": LOST,
                "backoffLimit": REPLACED,
                "podFailurePolicy": {"rules": rules},
                "template": pods,
            },
        },
    }


def metadata_of(cluster: Cluster, name: str, labels: Mapping[str, str] | None = None) -> Table:
    space = cluster.kubernetes.namespace
    return {
        "name": name,
        **({"namespace": space} if space else {}),
        **({"labels": dict(labels)} if labels else {}),
    }

"""Our own checks of finished manifests: what controllers refuse that no schema says. Always done, at last.

A finding here is a mistake of Motley's own: what a user can get wrong, `checks` has told by its key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from motley.remote.config import value_rules
from motley.remote.kubernetes.yaml_text import plain

Table = dict[str, Any]
NAME_OF = {"PyTorchJob": "pytorch", "JobSet": "node", "TrainingRuntime": "node"}
CONFIG_BYTES = 2**20  # of all values of a ConfigMap, as files


def check_documents(documents: Sequence[Table]) -> None:
    """Raises AssertionError that names what is wrong."""
    found = list(problems([plain(document) for document in documents]))
    if found:
        raise AssertionError(f"the manifests would be refused: {'; '.join(found)}")


def problems(documents: Sequence[Table]) -> Iterator[str]:
    """Of documents without comments."""
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    yield from (f"{kind} {name} is there twice" for kind, name in set(names) if names.count((kind, name)) > 1)
    for document in documents:
        kind, name = document["kind"], document["metadata"]["name"]
        rule = value_rules.subdomain_problem if kind == "PersistentVolumeClaim" else value_rules.label_problem
        if problem := rule(name):
            yield f"{kind} {name} {problem}"
        if kind == "PyTorchJob":
            yield from _pytorchjob(document["spec"])
        elif kind == "JobSet":
            yield from _replicated_jobs(document["spec"])
        elif kind == "TrainingRuntime":
            yield from _replicated_jobs(document["spec"]["template"]["spec"])
        elif kind == "PersistentVolumeClaim":
            yield from _quantity(f"{kind} {name}", document["spec"]["resources"]["requests"]["storage"])
        for template in templates(document):
            yield from _pod(template["spec"], NAME_OF[kind], documents)


def templates(document: Table) -> list[Table]:
    """The templates of pods in it."""
    if document["kind"] == "PyTorchJob":
        return [one["template"] for one in document["spec"]["pytorchReplicaSpecs"].values()]
    spec = document.get("spec", {})
    jobs = spec.get("template", {}).get("spec", spec) if isinstance(spec, dict) else {}
    return [one["template"]["spec"]["template"] for one in jobs.get("replicatedJobs", [])]


def _pytorchjob(spec: Table) -> Iterator[str]:
    replicas = spec["pytorchReplicaSpecs"]
    if set(replicas) - {"Master", "Worker"}:
        yield f"a PyTorchJob has a Master and Workers, not {', '.join(replicas)}"
    if replicas.get("Master", {}).get("replicas") != 1:
        yield "a PyTorchJob has exactly one Master"
    if "Worker" in replicas and replicas["Worker"]["replicas"] < 1:
        yield "a PyTorchJob without Workers has no Worker at all"
    if not isinstance(spec.get("nprocPerNode", ""), str):
        yield "nprocPerNode is text"
    if any(one["restartPolicy"] != "ExitCode" for one in replicas.values()):
        yield "a pod that is lost would end the job, or one that failed would be started again"


def _replicated_jobs(spec: Table) -> Iterator[str]:
    names = [one["name"] for one in spec["replicatedJobs"]]
    yield from (f"replicatedJob {name} {problem}" for name in names if (problem := value_rules.label_problem(name)))
    if len(set(names)) != len(names):
        yield "two replicatedJobs have one name"
    if spec["successPolicy"]["targetReplicatedJobs"] != names[:1]:
        yield "the run is over when the pod that leads is"
    for one in spec["replicatedJobs"]:
        job = one["template"]["spec"]
        if one["replicas"] != 1:
            yield f"replicatedJob {one['name']}: replicas must be 1"
        if not job["completions"] == job["parallelism"] >= 1 or job["completionMode"] != "Indexed":
            yield f"replicatedJob {one['name']}: all of its pods run at once, with an index each"
        if "podFailurePolicy" in job and job["template"]["spec"].get("restartPolicy") != "Never":
            yield f"replicatedJob {one['name']}: podFailurePolicy wants restartPolicy Never"


def _pod(spec: Table, container_name: str, documents: Sequence[Table]) -> Iterator[str]:
    (container,) = spec["containers"]
    if container["name"] != container_name:
        yield f"the container is called {container['name']}, and must be {container_name}"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    if "pytorchjob-port" not in ports:
        yield "no port is called pytorchjob-port"
    for name, port in ports.items():
        if not 1 <= port <= 65535 or len(name) > 15:
            yield f"port {name} is {port}"
    if len(set(ports.values())) != len(container["ports"]):
        yield "two ports are one"
    variables = [one["name"] for one in container["env"]]
    for name in variables:
        if variables.count(name) > 1 or name.startswith("PET_"):
            yield f"variable {name} is set twice, or is the operator's"
    for part in container.get("resources", {}).values():
        for text in part.values():
            yield from _quantity(container["name"], text)
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    if {mount["name"] for mount in container["volumeMounts"]} != set(volumes):
        yield "a volume is not mounted, or not there"
    made = {(document["kind"], document["metadata"]["name"]) for document in documents}
    for volume in volumes.values():
        if "configMap" in volume and ("ConfigMap", volume["configMap"]["name"]) not in made:
            yield f"there is no ConfigMap {volume['configMap']['name']}"


def _quantity(what: str, text: str) -> Iterator[str]:
    if problem := value_rules.quantity_problem(str(text)):
        yield f"{what}: {text} {problem}"

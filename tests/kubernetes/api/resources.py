"""Which kinds of objects there are, and what discovery says of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    plural: str
    kind: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True
    short: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = tuple(VERBS)
    categories: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """As kubectl names it: `pods`, `jobs.batch`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def group_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def prefix(self) -> str:
        return f"/apis/{self.group_version}" if self.group else f"/api/{self.version}"


ALL = ("all",)
KUBEFLOW, TRAINER, JOBSET = "kubeflow.org", "trainer.kubeflow.org", "jobset.x-k8s.io"
RESOURCES = (
    Resource(plural="namespaces", kind="Namespace", namespaced=False, short=("ns",)),
    Resource(plural="nodes", kind="Node", namespaced=False, short=("no",)),
    Resource(plural="pods", kind="Pod", short=("po",), subresources=("status", "log", "exec"), categories=ALL),
    Resource(plural="services", kind="Service", short=("svc",), categories=ALL),
    Resource(plural="configmaps", kind="ConfigMap", short=("cm",)),
    Resource(plural="secrets", kind="Secret"),
    Resource(plural="serviceaccounts", kind="ServiceAccount", short=("sa",)),
    Resource(plural="persistentvolumeclaims", kind="PersistentVolumeClaim", short=("pvc",), subresources=("status",)),
    Resource(plural="events", kind="Event", short=("ev",)),
    Resource(plural="jobs", kind="Job", group="batch", subresources=("status",), categories=ALL),
    Resource(plural="pytorchjobs", kind="PyTorchJob", group=KUBEFLOW, subresources=("status",)),
    Resource(plural="trainjobs", kind="TrainJob", group=TRAINER, version="v1alpha1", subresources=("status",)),
    Resource(plural="trainingruntimes", kind="TrainingRuntime", group=TRAINER, version="v1alpha1"),
    Resource(plural="jobsets", kind="JobSet", group=JOBSET, version="v1alpha2", subresources=("status",)),
    Resource(
        plural="selfsubjectaccessreviews", kind="SelfSubjectAccessReview", group="authorization.k8s.io",
        namespaced=False, verbs=("create",),
    ),
    Resource(
        plural="selfsubjectreviews", kind="SelfSubjectReview", group="authentication.k8s.io",
        namespaced=False, verbs=("create",),
    ),
)  # fmt: skip
BY_PLURAL = {resource.plural: resource for resource in RESOURCES}
PODS, EVENTS, CLAIMS = BY_PLURAL["pods"], BY_PLURAL["events"], BY_PLURAL["persistentvolumeclaims"]
CUSTOM = {resource.plural for resource in RESOURCES if resource.group in (KUBEFLOW, TRAINER, JOBSET)}


def groups(resources: Iterable[Resource]) -> Object:
    """What `/apis` says."""
    found: dict[str, list[str]] = {}
    for resource in resources:
        if resource.group and resource.version not in found.setdefault(resource.group, []):
            found[resource.group].append(resource.version)
    tables = [{"name": name, "versions": [_version(name, one) for one in versions]} for name, versions in found.items()]
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [{**table, "preferredVersion": table["versions"][0]} for table in tables],
    }


def _version(group: str, version: str) -> Object:
    return {"groupVersion": f"{group}/{version}", "version": version}


def listed(resources: Iterable[Resource], prefix: str) -> Object | None:
    """What a group and version say; None when there is none of it."""
    mine = [resource for resource in resources if resource.prefix == prefix]
    if not mine:
        return None
    rows: list[Object] = []
    for one in mine:
        row: Object = {"name": one.plural, "singularName": one.kind.lower(), "namespaced": one.namespaced}
        row |= {"kind": one.kind, "verbs": list(one.verbs), "shortNames": list(one.short)}
        rows.append({**row, **({"categories": list(one.categories)} if one.categories else {})})
        for name in one.subresources:
            verbs = {"log": ["get"], "exec": ["create", "get"]}.get(name, ["get", "patch", "update"])
            part = {"name": f"{one.plural}/{name}", "singularName": "", "namespaced": True}
            rows.append({**part, "kind": "PodExecOptions" if name == "exec" else one.kind, "verbs": verbs})
    group_version = mine[0].group_version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": rows}


def open_api(resources: Iterable[Resource], prefix: str) -> Object:
    """A document of OpenAPI v3: what kubectl looks for is which of its options the server knows."""
    known = ("dryRun", "fieldManager", "fieldValidation", "force")
    options = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in known]
    paths = {}
    for one in resources:
        if one.prefix == prefix:
            gvk = {"group": one.group, "version": one.version, "kind": one.kind}
            verb = {"parameters": options, "responses": {}, "x-kubernetes-group-version-kind": gvk}
            where = f"{prefix}/{'namespaces/{namespace}/' * one.namespaced}{one.plural}"
            paths[where] = {"post": verb}
            paths[f"{where}/{{name}}"] = {"patch": verb}
    info = {"title": "Kubernetes", "version": "v1.37.0"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": {}}}

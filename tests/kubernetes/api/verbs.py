"""What the API server does with an object: get, list, watch, create, patch, replace, delete. Answers to paths are
`tests.kubernetes.api.routes`'s.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator

import yaml

from tests.kubernetes.api import patches, tables, validation
from tests.kubernetes.api.api_errors import (
    ApiError,
    already_exists,
    bad_request,
    conflict,
    denied,
    forbidden,
    not_found,
)
from tests.kubernetes.api.http_server import Answer, Request, Stream
from tests.kubernetes.api.resources import BY_PLURAL, Resource
from tests.kubernetes.api.selectors import matcher
from tests.kubernetes.api.settings import Settings
from tests.kubernetes.api.store import Object, Store, now

PATCHES = {
    "application/merge-patch+json": patches.merge,
    "application/strategic-merge-patch+json": patches.strategic,
    "application/apply-patch+yaml": patches.strategic,
}
APPLY = "application/apply-patch+yaml"
END_OF_FIRST = {"k8s.io/initial-events-end": "true"}
FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


class Verbs:
    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings

    def get(self, request: Request, resource: Resource, namespace: str, name: str) -> Answer:
        found = self._store.get(resource, namespace, name)
        return Answer.of(self._shown(request, resource, [found], found))

    def list_all(self, request: Request, resource: Resource, namespace: str) -> Answer:
        meant = matcher(request.asked("labelSelector"), request.asked("fieldSelector"))
        found = [table for table in self._store.list(resource.plural, namespace) if meant(table)]
        whole: Object = {"kind": f"{resource.kind}List", "apiVersion": resource.group_version}
        whole |= {"metadata": {"resourceVersion": str(self._store.version)}, "items": found}
        return Answer.of(self._shown(request, resource, found, whole))

    def _shown(self, request: Request, resource: Resource, found: list[Object], otherwise: Object) -> Object:
        """A table where one is asked for."""
        if "as=Table" not in request.headers.get("accept", ""):
            return otherwise
        all_of_it = request.asked("includeObject") == "Object"
        return tables.table_of(resource.plural, found, version=str(self._store.version), whole=all_of_it)

    def watch(self, request: Request, resource: Resource, namespace: str) -> Stream:
        return Stream(self._events(request, resource, namespace))

    async def _events(self, request: Request, resource: Resource, namespace: str) -> AsyncIterator[bytes]:
        meant = matcher(request.asked("labelSelector"), request.asked("fieldSelector"))
        since = int(request.asked("resourceVersion") or 0)

        def line(kind: str, table: Object) -> bytes:
            shown = table if kind == "BOOKMARK" else self._shown(request, resource, [table], table)
            return json.dumps({"type": kind, "object": shown}).encode() + b"\n"

        if request.is_true("sendInitialEvents") or not since:
            since = self._store.version
            for table in self._store.list(resource.plural, namespace):
                if meant(table):
                    yield line("ADDED", table)
            if request.is_true("sendInitialEvents"):
                metadata = {"resourceVersion": str(since), "annotations": END_OF_FIRST}
                empty = {"kind": resource.kind, "apiVersion": resource.group_version, "metadata": metadata}
                yield line("BOOKMARK", empty)
        async for change in self._store.changes(since):
            shown = change.after or change.before
            assert shown is not None
            if change.plural == resource.plural and namespace in ("", shown["metadata"].get("namespace", "")):
                kind = _event(meant(change.before), meant(change.after))
                if kind:
                    yield line(kind, shown)

    def create(self, request: Request, resource: Resource, namespace: str) -> Answer:
        table = _read(request.body)
        if table.get("kind") != resource.kind or table.get("apiVersion") != resource.group_version:
            said = f"{table.get('apiVersion')}, Kind={table.get('kind')}"
            raise bad_request(f"the object provided is unrecognized (must be of type {resource.kind}): {said}")
        table.setdefault("metadata", {})
        return Answer.of(self._made(request, resource, namespace, table), 201)

    def _made(self, request: Request, resource: Resource, namespace: str, table: Object) -> Object:
        name = table["metadata"].get("name", "")
        asked = table["metadata"].get("namespace") or namespace
        if resource.namespaced and asked != namespace:
            raise bad_request(
                f"the namespace of the provided object does not match the namespace sent on the request: {asked}"
            )
        self._admit(request, resource, table, None)
        if resource.namespaced and self._store.find("namespaces", "", namespace) is None:
            raise not_found(BY_PLURAL["namespaces"], namespace)
        if self._store.find(resource.plural, namespace, name) is not None:
            raise already_exists(resource, name)
        self.check_quota(resource, namespace, name)
        table = _with_defaults(resource, table)
        if request.asked("dryRun"):
            return {
                **table,
                "metadata": {**table["metadata"], "namespace": namespace, "uid": "", "creationTimestamp": now()},
            }
        return self._store.create(resource, namespace, table)

    def check_quota(self, resource: Resource, namespace: str, name: str) -> None:
        most, used = self._settings.quota.get(resource.plural), len(self._store.list(resource.plural, namespace))
        if most is not None and used >= most:
            what = resource.plural if not resource.group else f"count/{resource.key}"
            said = f"exceeded quota: team, requested: {what}=1, used: {what}={used}, limited: {what}={most}"
            raise forbidden(resource, name, said)

    def allow(self, verb: str, resource: Resource, namespace: str, name: str, what: str) -> None:
        """`what`: the resource's plural, with a subresource. Raises ApiError where the user may not."""
        if self._settings.is_forbidden(verb, what):
            where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
            group = f'resource "{what}" in API group "{resource.group}"'
            raise forbidden(resource, name, f'User "{self._settings.user}" cannot {verb} {group} {where}')

    def _admit(self, request: Request, resource: Resource, table: Object, before: Object | None) -> None:
        validation.check(resource, table, before, strict=request.asked("fieldValidation") == "Strict")
        if (said := self._settings.refused.get(resource.plural)) is not None:
            raise denied(f"validate.{resource.plural}.example", said)
        self._check_runtime(resource, table)

    def _check_runtime(self, resource: Resource, table: Object) -> None:
        """A TrainJob names a runtime that is there."""
        if resource.plural == "trainjobs":
            name = table["spec"]["runtimeRef"]["name"]
            namespace = table["metadata"].get("namespace", "default")
            if self._store.find("trainingruntimes", namespace, name) is None:
                text = (
                    f'spec.runtimeRef: Invalid value: "{name}": TrainingRuntime.trainer.kubeflow.org "{name}" not found'
                )
                raise denied("validator.trainjob.trainer.kubeflow.org", text)

    def patch(self, request: Request, resource: Resource, namespace: str, name: str) -> Answer:
        how = request.headers.get("content-type", "").partition(";")[0]
        if how not in PATCHES:
            raise ApiError(415, "UnsupportedMediaType", f"the body of the request was in an unknown format - {how}")
        patch = _read(request.body)
        before = self._store.find(resource.plural, namespace, name)
        if before is None:
            if how != APPLY:
                raise not_found(resource, name)
            patch.setdefault("metadata", {})["name"] = name
            self.allow("create", resource, namespace, name, resource.plural)
            return Answer.of(self._made(request, resource, namespace, patch), 201)
        table: Object = PATCHES[how](before, patch)
        return Answer.of(self._changed(request, resource, before, table))

    def replace(self, request: Request, resource: Resource, namespace: str, name: str) -> Answer:
        before = self._store.get(resource, namespace, name)
        return Answer.of(self._changed(request, resource, before, _read(request.body)))

    def _changed(self, request: Request, resource: Resource, before: Object, table: Object) -> Object:
        metadata, old = table["metadata"], before["metadata"]
        if metadata.get("resourceVersion", old["resourceVersion"]) != old["resourceVersion"]:
            raise conflict(resource, old["name"])
        metadata |= {
            key: old[key] for key in ("name", "namespace", "uid", "creationTimestamp", "generation") if key in old
        }
        metadata["resourceVersion"] = old["resourceVersion"]
        self._admit(request, resource, table, before)
        table = _with_defaults(resource, table)
        if resource.plural != "pods":  # what a controller says of it stays its own
            table = {**table, **({"status": before["status"]} if "status" in before else {})}
        return table if request.asked("dryRun") else self._store.replace(resource.plural, table)

    def delete(self, request: Request, resource: Resource, namespace: str, name: str) -> Answer:
        table = self._store.get(resource, namespace, name)
        options = _read(request.body) if request.body else {}
        wanted = options.get("preconditions", {}).get("uid")
        if wanted and wanted != table["metadata"]["uid"]:
            raise conflict(resource, name)
        if not request.asked("dryRun") and not options.get("dryRun"):
            self.delete_one(resource, namespace, name, options)
        left = self._store.find(resource.plural, namespace, name)
        details = {"name": name, "group": resource.group, "kind": resource.plural, "uid": table["metadata"]["uid"]}
        done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return Answer.of(left if left is not None else done)

    def delete_all(self, request: Request, resource: Resource, namespace: str) -> Answer:
        meant = matcher(request.asked("labelSelector"), request.asked("fieldSelector"))
        options = _read(request.body) if request.body else {}
        found = [table for table in self._store.list(resource.plural, namespace) if meant(table)]
        for table in found:
            self.delete_one(resource, table["metadata"].get("namespace", ""), table["metadata"]["name"], options)
        return self.list_all(request, resource, namespace)

    def delete_one(self, resource: Resource, namespace: str, name: str, options: Object) -> None:
        """What the kubelet, or the garbage collector, has to end first is only marked."""
        propagation = options.get("propagationPolicy", "Background")
        grace = options.get("gracePeriodSeconds")

        def mark(table: Object) -> None:
            metadata = table["metadata"]
            metadata.setdefault("deletionTimestamp", now())
            if resource.plural == "pods":
                usual = table["spec"].get("terminationGracePeriodSeconds", 30)
                metadata["deletionGracePeriodSeconds"] = usual if grace is None else grace
            elif propagation == "Foreground":
                metadata["finalizers"] = sorted({*metadata.get("finalizers", ()), FOREGROUND})

        if resource.plural in ("pods", "persistentvolumeclaims", "namespaces") or propagation == "Foreground":
            self._store.update(resource.plural, namespace, name, mark)
            return
        if propagation == "Orphan":
            self._orphan(self._store.get(resource, namespace, name))
        self._store.remove(resource.plural, namespace, name)

    def _orphan(self, owner: Object) -> None:
        uid = owner["metadata"]["uid"]

        def leave(table: Object) -> None:
            references = table["metadata"].get("ownerReferences", [])
            table["metadata"]["ownerReferences"] = [one for one in references if one["uid"] != uid]

        for plural in BY_PLURAL:
            for table in self._store.list(plural):
                if any(one["uid"] == uid for one in table["metadata"].get("ownerReferences", ())):
                    self._store.update(plural, table["metadata"].get("namespace", ""), table["metadata"]["name"], leave)


def _event(before: bool, after: bool) -> str:
    if after:
        return "MODIFIED" if before else "ADDED"
    return "DELETED" if before else ""


def _read(body: bytes) -> Object:
    try:
        table = json.loads(body) if body.lstrip().startswith(b"{") else yaml.safe_load(body)
    except (ValueError, yaml.YAMLError) as error:
        raise bad_request(f"the object provided is no JSON: {error}") from error
    if not isinstance(table, dict):
        raise bad_request("the object provided is unrecognized")
    return table


def _with_defaults(resource: Resource, table: Object) -> Object:
    if resource.plural == "secrets" and "stringData" in table:
        text = table.pop("stringData") or {}
        packed = {name: base64.b64encode(value.encode()).decode() for name, value in text.items()}
        table["data"] = {**(table.get("data") or {}), **packed}
    if resource.plural == "persistentvolumeclaims":
        table["spec"].setdefault("storageClassName", "standard")
        table["spec"].setdefault("volumeMode", "Filesystem")
        table.setdefault("status", {"phase": "Pending"})
    if resource.plural == "pods":
        table["spec"].setdefault("restartPolicy", "Always")
        table.setdefault("status", {"phase": "Pending"})
    return table

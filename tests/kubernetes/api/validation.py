"""What of an object that is created or changed is refused: unknown fields, what is of another type or missing, rules in
CEL, and what the webhooks of operators refuse.

CRDs have the operators' own schemas, where these are (`tests.remote.kubernetes.crd`); what is built in has a list of
its fields.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema

from tests.kubernetes.api import cel_rules
from tests.kubernetes.api.api_errors import ApiError, bad_request, denied, invalid
from tests.kubernetes.api.resources import Resource
from tests.remote.kubernetes.crd import FOLDER, converted, schema_of

Object = dict[str, Any]
CRDS = {"pytorchjobs": "pytorchjob_v1.crd.json", "trainjobs": "trainjob_v1alpha1.crd.json"}
FIELDS = {
    "configmaps": {"data", "binaryData", "immutable"},
    "secrets": {"data", "stringData", "type", "immutable"},
    "persistentvolumeclaims": {"spec", "status"},
    "services": {"spec", "status"},
    "pods": {"spec", "status"},
}
OF_ALL = {"apiVersion", "kind", "metadata"}
LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
CONFIG_BYTES, ANNOTATION_BYTES = 2**20, 2**18
RFC_1123 = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


def check(resource: Resource, table: Object, before: Object | None, *, strict: bool) -> None:
    """Raises ApiError. `strict`: unknown fields are refused, which kubectl asks for."""
    if strict:
        unknown = [*_unknown(resource, table)]
        if unknown:
            said = ", ".join(f'unknown field "{field}"' for field in unknown)
            raise bad_request(f"{_whose(resource, table)}: strict decoding error: {said}")
    name = table["metadata"].get("name", "")
    causes = [*_metadata(table), *_shape(resource, table, before), *_own(resource, table, before)]
    if causes:
        raise invalid(resource, name, causes)
    if refused := _webhook(resource, table, before):
        raise refused


def _whose(resource: Resource, table: Object) -> str:
    kind = table.get("kind", resource.kind)
    return f'{kind} in version "{resource.version}" cannot be handled as a {resource.kind}'


@functools.cache
def _schema(plural: str) -> Object | None:
    file = CRDS.get(plural)
    return schema_of(file) if file is not None and (FOLDER / file).exists() else None


@functools.cache
def _raw_schema(plural: str) -> Object | None:
    file = CRDS.get(plural)
    if file is None or not (FOLDER / file).exists():
        return None
    found: Object = json.loads((FOLDER / file).read_bytes())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


@functools.cache
def _template_schema() -> Object | None:
    """Of the template of pods, which is the same wherever there is one."""
    job = _schema("pytorchjobs")
    if job is None:
        return None
    replicas = job["properties"]["spec"]["properties"]["pytorchReplicaSpecs"]["additionalProperties"]
    found: Object = replicas["properties"]["template"]
    return found


def _findings(resource: Resource, table: Object) -> Iterator[tuple[str, Any]]:
    """Where, and what jsonschema says of it."""
    shown = {key: value for key, value in table.items() if key not in ("metadata", "status")}
    schema = _schema(resource.plural)
    if schema is not None:
        for found in jsonschema.Draft202012Validator(schema).iter_errors({**shown, "metadata": {}}):
            yield "", found
    template = _template_schema()
    if template is not None and schema is None:
        for place, pod in _templates(resource, table):
            for found in jsonschema.Draft202012Validator(template).iter_errors(pod):
                yield place, found


def _templates(resource: Resource, table: Object) -> Iterator[tuple[str, Object]]:
    """Where each template of pods is, in those whose schema is not here."""
    spec = table.get("spec") or {}
    if resource.plural == "pods":
        yield "", {"spec": {key: value for key, value in spec.items() if key != "nodeName"}}
    if resource.plural == "trainingruntimes":
        spec, start = spec.get("template", {}).get("spec", {}), "spec.template.spec"
    else:
        start = "spec"
    if resource.plural in ("jobsets", "trainingruntimes"):
        for number, job in enumerate(spec.get("replicatedJobs", [])):
            place = f"{start}.replicatedJobs[{number}].template.spec.template"
            yield place, job["template"]["spec"]["template"]
    elif resource.plural == "jobs":
        yield "spec.template", spec["template"]


def _unknown(resource: Resource, table: Object) -> Iterator[str]:
    if (known := FIELDS.get(resource.plural)) is not None:
        yield from sorted(set(table) - known - OF_ALL)
    for place, found in _findings(resource, table):
        if found.validator == "additionalProperties" and found.schema.get("additionalProperties") is False:
            extra = set(found.instance) - set(found.schema.get("properties", ()))
            yield from (_path(place, [*found.absolute_path, name]) for name in sorted(extra))


def _shape(resource: Resource, table: Object, before: Object | None) -> Iterator[tuple[str, str]]:
    for place, found in _findings(resource, table):
        if found.validator != "additionalProperties":
            where = _path(place, list(found.absolute_path))
            yield from _cause(where, found)
    raw = _raw_schema(resource.plural)
    if raw is not None:
        yield from cel_rules.broken(raw, table, before)


def _cause(where: str, found: Any) -> Iterator[tuple[str, str]]:
    value = json.dumps(found.instance)
    if found.validator == "required":
        for name in sorted(set(found.validator_value) - set(found.instance)):
            yield f"{where}.{name}".strip("."), "Required value"
    elif found.validator == "type":
        wanted = found.validator_value
        text = f"{where} in body must be of type {wanted if isinstance(wanted, str) else wanted[0]}"
        yield where, f"Invalid value: {value}: {text}: {_type_name(found.instance)}"
    elif found.validator == "enum":
        known = ", ".join(json.dumps(one) for one in found.validator_value)
        yield where, f"Unsupported value: {value}: supported values: {known}"
    elif found.validator == "pattern":
        yield where, f"Invalid value: {value}: {where} in body should match '{found.validator_value}'"
    else:
        yield where, f"Invalid value: {value}: {found.message}"


def _type_name(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return f'"{names.get(type(value), "null")}"'


def _path(place: str, parts: list[Any]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return f"{place}{text}".strip(".")


def _metadata(table: Object) -> Iterator[tuple[str, str]]:
    metadata = table["metadata"]
    name = metadata.get("name", "")
    if not name and "generateName" not in metadata:
        yield "metadata.name", "Required value: name or generateName is required"
    elif name and not SUBDOMAIN.fullmatch(name):
        yield "metadata.name", f'Invalid value: "{name}": {RFC_1123}'
    if sum(len(key) + len(value) for key, value in (metadata.get("annotations") or {}).items()) > ANNOTATION_BYTES:
        yield "metadata.annotations", f"Too long: may not be more than {ANNOTATION_BYTES} bytes"


def _own(resource: Resource, table: Object, before: Object | None) -> Iterator[tuple[str, str]]:
    """Rules of what is built in."""
    if resource.plural in ("configmaps", "secrets"):
        parts = [value for key in ("data", "binaryData", "stringData") for value in (table.get(key) or {}).values()]
        if sum(map(len, parts)) > CONFIG_BYTES * 4 // 3:
            yield "data", f"Too long: may not be more than {CONFIG_BYTES} bytes"
        for key in ("data", "stringData"):
            for name, value in (table.get(key) or {}).items():
                if not isinstance(value, str):
                    yield f"{key}[{name}]", f"Invalid value: {json.dumps(value)}: must be a string"
    if resource.plural == "persistentvolumeclaims":
        spec = table.get("spec", {})
        if not spec.get("accessModes"):
            yield "spec.accessModes", "Required value: at least 1 access mode is required"
        if "storage" not in spec.get("resources", {}).get("requests", {}):
            yield "spec.resources[storage]", "Required value"
        if before is not None and spec.get("accessModes") != before["spec"].get("accessModes"):
            text = "spec is immutable after creation except resources.requests and volumeAttributesClassName"
            yield "spec", f"Forbidden: {text} for bound claims"


def _webhook(resource: Resource, table: Object, before: Object | None) -> ApiError | None:
    name, spec = table["metadata"].get("name", ""), table.get("spec") or {}
    if resource.plural == "pytorchjobs":
        causes = [*_pytorchjob(name, spec)]
        where = "validator.pytorchjob.training-operator.kubeflow.org"
        return denied(where, "; ".join(causes)) if causes else None
    if resource.plural == "jobsets" and before is not None and _jobs(before) != _jobs(table):
        return denied("vjobset.kb.io", "spec.replicatedJobs: Invalid value: field is immutable")
    if resource.plural == "jobsets" and not LABEL.fullmatch(name):
        return denied("vjobset.kb.io", f"metadata.name: {name} is no DNS-1035 label")
    return None


def _jobs(table: Object) -> Any:
    return table["spec"].get("replicatedJobs")


def _pytorchjob(name: str, spec: Object) -> Iterator[str]:
    if not LABEL.fullmatch(name):
        said = "a DNS-1035 label must consist of lower case alphanumeric characters"
        yield f'metadata.name: Invalid value: "{name}": {said}'
    replicas = spec.get("pytorchReplicaSpecs", {})
    for kind, one in replicas.items():
        where = f"spec.pytorchReplicaSpecs[{kind}]"
        if kind not in ("Master", "Worker"):
            yield f'{where}: Unsupported value: "{kind}": supported values: "Master", "Worker"'
        if kind == "Master" and one.get("replicas", 1) != 1:
            yield f"{where}.replicas: Forbidden: must be 1"
        containers = one["template"]["spec"]["containers"]
        if not any(container.get("name") == "pytorch" for container in containers):
            said = "must have at least one container with name pytorch"
            yield f"{where}.template.spec.containers: Required value: {said}"


def has_schemas() -> bool:
    """Whether objects of CRDs are checked against the operators' own definitions here."""
    return FOLDER.is_dir() and converted({}) == {}

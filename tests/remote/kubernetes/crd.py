"""Schemas of operators' own definitions (CRDs) as plain JSON Schema, which `jsonschema` reads.

They are not part of the repository: `shared/k8s` beside it has them, where it is.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema

FOLDER = Path(__file__).resolve().parents[3].parent / "shared" / "k8s"


@functools.cache
def schema_of(file: str) -> dict[str, Any]:
    """Of the first version in a definition; keys that are not in it are refused."""
    table = json.loads((FOLDER / file).read_bytes())
    found: dict[str, Any] = converted(table["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    return found


def validate(table: Any, schema: dict[str, Any]) -> None:
    """Raises jsonschema.ValidationError."""
    jsonschema.Draft202012Validator(schema).validate(table)


def converted(schema: Any) -> Any:
    """Of one part of it. Names of properties are no words of a schema."""
    if not isinstance(schema, dict):
        return schema
    made = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-") and key != "nullable"}
    for key in ("properties", "patternProperties"):
        if key in made:
            made[key] = {name: converted(part) for name, part in made[key].items()}
    for key in ("items", "additionalProperties", "not"):
        made |= {key: converted(made[key])} if key in made else {}
    for key in ("anyOf", "allOf", "oneOf"):
        made |= {key: [converted(part) for part in made[key]]} if key in made else {}
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if schema.get("nullable") and "type" in made:
        made["type"] = [made["type"], "null"]
    if "properties" in made and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made

"""`-l` and `--field-selector`: which objects are meant. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.kubernetes.api.api_errors import bad_request

Object = dict[str, Any]
SET = re.compile(r"^\s*([\w./-]+)\s+(in|notin)\s+\(([^)]*)\)\s*$")
EQUAL = re.compile(r"^\s*([\w./-]+)\s*(==|!=|=)\s*([\w./-]*)\s*$")
EXISTS = re.compile(r"^\s*(!?)\s*([\w./-]+)\s*$")


def matcher(labels: str, fields: str) -> Callable[[Object | None], bool]:
    """Raises ApiError for what is no selector."""
    wanted = [_label_rule(part) for part in re.split(r",(?![^(]*\))", labels) if part.strip()]
    asked = [_field_rule(part) for part in fields.split(",") if part.strip()]
    return lambda table: table is not None and all(rule(table) for rule in (*wanted, *asked))


def _label_rule(part: str) -> Callable[[Object], bool]:
    if found := SET.match(part):
        name, how, values = found[1], found[2], {value.strip() for value in found[3].split(",")}
        return lambda table: (_labels(table).get(name) in values) == (how == "in")
    if found := EQUAL.match(part):
        name, how, value = found.groups()
        return lambda table: (_labels(table).get(name) == value) == (how != "!=")
    if found := EXISTS.match(part):
        absent, name = found.groups()
        return lambda table: (name in _labels(table)) != bool(absent)
    raise bad_request(f"unable to parse requirement: {part!r}")


def _labels(table: Object) -> dict[str, str]:
    found: dict[str, str] = table["metadata"].get("labels") or {}
    return found


def _field_rule(part: str) -> Callable[[Object], bool]:
    found = EQUAL.match(part)
    if found is None:
        raise bad_request(f"invalid selector: {part!r}; can't understand it")
    path, how, value = found.groups()

    def rule(table: Object) -> bool:
        here: Any = table
        for key in path.split("."):
            here = here.get(key, "") if isinstance(here, dict) else ""
        return (str(here) == value) == (how != "!=")

    return rule

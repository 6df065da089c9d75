"""Rules in CEL that a CRD's schema has (`x-kubernetes-validations`), evaluated where an evaluator is installed."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]
RULES = "x-kubernetes-validations"
PACKAGE = "cel"  # of PyPI's common-expression-language


def can_evaluate() -> bool:
    return importlib.util.find_spec(PACKAGE) is not None


def broken(schema: Object, table: Any, before: Any) -> Iterator[tuple[str, str]]:
    """Of an object, and of what it was before, if it was: where, and the message of the rule."""
    if can_evaluate():
        yield from _broken(schema, table, before, "")


def _broken(schema: Object, value: Any, before: Any, where: str) -> Iterator[tuple[str, str]]:
    for rule in schema.get(RULES, ()):
        if before is None and "oldSelf" in rule["rule"]:
            continue  # of a change only
        if not _holds(rule["rule"], value, before):
            shown = f'"{value}"' if isinstance(value, str) else type(value).__name__ if value is not None else "null"
            yield where or "<root>", f"Invalid value: {shown}: {rule.get('message') or rule['rule']}"
    if isinstance(value, dict):
        for name, part in schema.get("properties", {}).items():
            if name in value:
                old = before.get(name) if isinstance(before, dict) else None
                yield from _broken(part, value[name], old, f"{where}.{name}".strip("."))
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for number, item in enumerate(value):
            yield from _broken(schema["items"], item, None, f"{where}[{number}]")


def _holds(rule: str, value: Any, before: Any) -> bool:
    known = {"self": value} if before is None else {"self": value, "oldSelf": before}
    return bool(importlib.import_module(PACKAGE).evaluate(rule, known))

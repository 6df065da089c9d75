"""Parameters of a task, as `[task]` has them, held to the dataclass that says which there are. Standard library.

A host asks when it makes the task; the master asks about a task that comes with Motley, before anything is connected.

    >>> @dataclasses.dataclass
    ... class Options:
    ...     width: int = 8
    >>> options_of(Options, {"width": 64}, "Night.Options").width
    64
    >>> options_of(Options, {"widht": 64}, "Night.Options")
    Traceback (most recent call last):
    motley.trainer.contract.task_parameters.Misfit: [task] widht: Night.Options has no such parameter
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, get_args, get_origin, get_type_hints

_LIKE = {float: (int, float), tuple: (list,)}  # what TOML has for a type


class Misfit(ValueError):
    """`key`: of `[task]`; `cause` begins with it, `remedy` mends it."""

    def __init__(self, key: str, cause: str, remedy: str) -> None:
        self.key, self.cause, self.remedy = key, cause, remedy
        super().__init__(cause)


def options_of(cls: type, parameters: Mapping[str, Any], owner: str) -> Any:
    """One of the dataclass `cls`, which errors call `owner`. A list becomes a tuple where the field says what is in it.

    Raises Misfit for a parameter that it does not know, of another type, or that is missing, and what `cls` raises.
    """
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for key in parameters:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"It has {', '.join(fields) or 'none'}"
            raise Misfit(key, f"[task] {key}: {owner} has no such parameter", hint)
    hints = get_type_hints(cls)
    fitting = {key: _fitting(key, value, hints[key], owner) for key, value in parameters.items()}
    missing = [
        key
        for key, field in fields.items()
        if key not in parameters
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise Misfit("", f"[task] lacks {', '.join(missing)}", f"{owner} has no default for it")
    return cls(**fitting)


def _fitting(key: str, value: Any, wanted: Any, owner: str) -> Any:
    """The value as the field has it."""
    if get_origin(wanted) is tuple and isinstance(value, list) and get_args(wanted)[1:] == (...,):
        (inner, _) = get_args(wanted)
        wrong = next((item for item in value if isinstance(inner, type) and not _fits(item, inner)), None)
        if wrong is not None:
            raise Misfit(key, f"[task] {key} has {wrong!r} in it: {owner} wants {inner.__name__}", _CHANGE)
        return tuple(value)
    kind = wanted if get_origin(wanted) is None else get_origin(wanted)  # of list[str], a list
    if kind in (list, tuple, dict, wanted) and isinstance(kind, type) and not _fits(value, kind):
        raise Misfit(key, f"[task] {key} = {value!r}: {owner} wants {kind.__name__}", _CHANGE)
    return value


_CHANGE = "Change it in cluster.toml"


def _fits(value: Any, wanted: type) -> bool:
    if isinstance(value, bool) and wanted is not bool:
        return False
    return isinstance(value, _LIKE.get(wanted, wanted))

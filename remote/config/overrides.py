"""`--set key=value`: single keys of cluster.toml replaced for one run.

`remote.config.load` applies them to the parsed file before anything is checked, so they are held to the same rules.

    >>> table = {"run": {"epochs": 40}}
    >>> apply_overrides(table, ["run.steps=20"], Problems({}, "cluster.toml"))
    >>> table
    {'run': {'steps': 20}}
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from motley.remote.config.check_script import RUN_PROGRAMS
from motley.remote.config.problems import Problems, host_names
from motley.remote.config.schema import keys_of, unknown
from motley.remote.config.sections import SECTIONS
from motley.remote.config.toml_lines import KeyPath
from motley.trainer.contract.task_name import IMAGE_FOLDER, Included, Named, parse

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def _any(_value: Any) -> bool:
    return True


def _not_own(task: Any) -> bool:
    """Whether it is no task of the user's own."""
    try:
        return not isinstance(parse(str(task)), Named)
    except ValueError:
        return True


def _without_parameters(task: Any) -> bool:
    """Whether it is a task that comes with Motley and has none."""
    try:
        return not isinstance(parse(str(task)), (Named, Included))
    except ValueError:
        return True


# What an override leaves no sense in: (the key set, whether its value counts, what of the file gives way).
_DISPLACED: tuple[tuple[KeyPath, Callable[[Any], bool], KeyPath], ...] = (
    (("run", "steps"), _any, ("run", "epochs")),
    (("run", "epochs"), _any, ("run", "steps")),
    *((given, _any, other) for given in RUN_PROGRAMS for other in (*RUN_PROGRAMS, ("run", "task"), ("task",))),
    *((("run", "task"), _any, program) for program in RUN_PROGRAMS),
    (("run", "task"), _any, ("run", "args")),
    (("run", "task"), _not_own, ("run", "project")),
    (("run", "task"), _without_parameters, ("task",)),
    (("run", "task"), lambda task: not str(task).endswith(f"/{IMAGE_FOLDER}"), ("data", "image_size")),
    (("data", "path"), _any, ("data", "push")),
    (("data", "push"), _any, ("data", "path")),
    (("balance", "policy"), lambda policy: policy != "static", ("balance", "shares")),
)


def apply_overrides(table: dict[str, Any], overrides: Sequence[str], problems: Problems) -> None:
    """Sets each key in `table`, in order. What can't be understood becomes a problem that quotes the override."""
    paths = []
    for text in overrides:
        key, equals, raw = text.partition("=")
        path = _path(table, key.strip())
        problem = _path_problem(table, path) if equals and "" not in path else "is not KEY=VALUE, such as run.epochs=3"
        problem = problem or _put(table, path, toml_value(raw.strip()))
        if problem:
            problems.add_option(f"--set {text}", problem)
        else:
            problems.set_by(f"--set {text}", path)
            paths.append(path)
    _displace(table, paths)


def toml_value(raw: str) -> Any:
    """A value as TOML reads it, else the text itself: `64` -> 64, `static` -> "static"."""
    try:
        table = tomllib.loads(f"value = {raw}")
    except (ValueError, RecursionError):  # ValueError: also a number with more digits than Python converts
        return raw
    return table["value"] if list(table) == ["value"] else raw


def _path(table: dict[str, Any], key: str) -> KeyPath:
    """`run.epochs` -> ("run", "epochs"); a host goes by its name, which may have dots in it, and becomes its index."""
    section, _, rest = key.partition(".")
    if section == "hosts":
        fits = [(name, i) for i, name in enumerate(host_names(table)) if name and rest.startswith(f"{name}.")]
        if fits:
            name, index = max(fits, key=lambda fit: len(str(fit[0])))
            return ("hosts", index, *rest[len(str(name)) + 1 :].split("."))
    return tuple(key.split("."))


def _path_problem(table: dict[str, Any], path: KeyPath) -> str | None:
    section = str(path[0])
    if section not in SECTIONS:
        return unknown(section, list(SECTIONS))
    if section == "hosts" and (len(path) < 3 or not isinstance(path[1], int)):
        names = ", ".join(str(name) for name in host_names(table) if name)
        return f"names no key of a host; write hosts.NAME.KEY=VALUE, where NAME is one of: {names or 'the hosts'}"
    if len(path) < 2:
        same = [f"{other}.{section}=VALUE" for other in SECTIONS if section in keys_of(other)]
        return f"names a section; write {' or '.join([f'{section}.KEY=VALUE', *same])}"
    return None


def _put(table: dict[str, Any], path: KeyPath, value: Any) -> str | None:
    """Sets the key, or says why it can't be set."""
    here: Any = table
    for part in path[:-1]:
        here = here[part] if isinstance(part, int) else here.setdefault(part, {})
        if not isinstance(here, dict) and part != "hosts":
            return f"has no such key: {part} is not a table"
    here[path[-1]] = value
    return None


def _displace(table: dict[str, Any], paths: Sequence[KeyPath]) -> None:
    for key, counts, gives_way in _DISPLACED:
        keys = table.get(str(key[0]))
        if key in paths and isinstance(keys, dict) and counts(keys[key[1]]):
            *sections, last = gives_way
            holder = table.get(str(sections[0])) if sections else table
            if isinstance(holder, dict) and not any(path[: len(gives_way)] == gives_way for path in paths):
                holder.pop(str(last), None)

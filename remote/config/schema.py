"""The keys of cluster.toml, checked and explained from one definition: the option classes and their metadata.

`remote.config.load` validates each section with it; docs/cluster-toml.md is what `reference` returns:

    python -m motley.remote.config.schema > docs/cluster-toml.md

    >>> validate(RunOptions, {"global_batch": 0, "seed": 7})
    ({'seed': 7}, [Problem(path=('global_batch',), text='must be at least 1, is 0')])
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pydantic
from pydantic_core import ErrorDetails

from motley.remote.config.sections import NOT_IN_DEFAULTS, SECTIONS
from motley.remote.config.toml_lines import KeyPath
from motley.trainer.contract.task_name import INCLUDED

_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
MAX_INT = 2**63 - 1  # where TOML's whole numbers end


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one key, and how to mend it. `path` begins at the section that was checked."""

    path: KeyPath
    text: str


def validate(keys: type, table: dict[str, Any], omit: Sequence[str] = ()) -> tuple[dict[str, Any], list[Problem]]:
    """The keys of one section that are in order, and a problem for each that is not. `omit` names keys not allowed."""
    model = _model(keys, tuple(omit))
    names = {key_of(f): f.name for f in _fields(keys, omit)}
    problems = {key: Problem((key,), unknown(key, list(names))) for key in table if key not in names}
    table = {names[key]: _frozen(value) for key, value in table.items() if key in names}
    try:
        model.model_validate(table)
    except pydantic.ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False):
            name = str(detail["loc"][0])
            problems.setdefault(name, _problem(keys, name, table[name], detail))
    for f in _fields(keys, omit):
        if f.name in table and f.name not in problems:
            text = _value_problem(f, table[f.name])
            if text:
                problems[f.name] = Problem((key_of(f),), text)
    good = model.model_validate({name: value for name, value in table.items() if name not in problems})
    return {name: getattr(good, name) for name in table if name not in problems}, list(problems.values())


def unknown(name: str, known: Sequence[str], elsewhere: Sequence[str] = tuple(SECTIONS)) -> str:
    """What to say about a key or section that does not exist: the section it belongs in, or the nearest name."""
    sections = [heading(section) for section in elsewhere if section != "defaults" and name in keys_of(section)]
    if sections:
        return f"is no key here; it belongs in {' or '.join(sections)}"
    return f"is unknown; {nearest(name, known)}"


def nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"there {'is' if len(known) == 1 else 'are'} {', '.join(known)}" if known else "nothing can be set here yet"


def keys_of(section: str) -> list[str]:
    return [key_of(f) for f in dataclasses.fields(SECTIONS[section])]


def key_of(f: dataclasses.Field[Any]) -> str:
    """How it is written in the file: one that is a word of Python's ends in an underscore here, `with_` for `with`."""
    return f.name.removesuffix("_")


def heading(section: str) -> str:
    return "[[hosts]]" if section == "hosts" else f"[{section}]"


def shown(value: Any) -> str:
    """A value of a TOML file as an error quotes it: short and on one line."""
    if isinstance(value, str):
        said = json.dumps(value if len(value) <= 60 else value[:59] + "…", ensure_ascii=False)
        return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in said)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value) if not isinstance(value, int) or abs(value) <= MAX_INT else "a number too large for TOML"
    if isinstance(value, dict):
        return "a table"
    return "a list" if isinstance(value, (list, tuple)) else "a date or time"


def words(hint: Any) -> str:
    """A type in plain words: `int | None` -> "a whole number" (TOML has no null; a key is left out instead)."""
    if get_origin(hint) is Literal:
        return _any_of([json.dumps(choice) for choice in get_args(hint)])
    if get_origin(hint) in (Union, types.UnionType):
        return _any_of([words(choice) for choice in get_args(hint) if choice is not type(None)])
    if get_origin(hint) is tuple:
        return "a list of " + {int: "whole numbers", float: "numbers"}.get(get_args(hint)[0], "text")
    if get_origin(hint) is dict:
        return "a table of text"
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[hint]


def reference() -> str:
    """docs/cluster-toml.md: every section and key, as Markdown."""
    parts = [_INTRODUCTION]
    for section, keys in SECTIONS.items():
        if section == "defaults":
            omitted = " and ".join(NOT_IN_DEFAULTS)
            parts.append(
                f"## `[defaults]`\nAny key of `[[hosts]]` except {omitted}, for every host that has not its own; "
                "the `env` of a host is added to that of `[defaults]`.\n"
            )
            continue
        title = (keys.__doc__ or "").partition(": ")
        parts.append(f"## `{heading(section)}`\n{title[2][:1].upper()}{title[2][1:]}\n")
        if rows := [_row(keys, f) for f in dataclasses.fields(keys)]:
            parts += ["| key | value | default | meaning |\n|---|---|---|---|", *rows]
            parts[-1] += "\n"
        if section == "run":
            parts += [_defaults_of(name, ours.run) for name, ours in INCLUDED.items()]
    return "\n".join(parts)


_INTRODUCTION = """\
# cluster.toml

One file says which machines take part and what they train. Each `[[hosts]]` is a machine; everything else has a
default. This page is made from the definitions that the file is checked against.

```toml
[[hosts]]
name = "desktop"
address = "192.168.1.20"
user = "alex"

[[hosts]]
name = "laptop"             # no address: the name is one, or stands in ~/.ssh/config

[run]
task = "resnet18/cifar10"
epochs = 30
```

`motley run --set key=value` sets any key for one run: `--set run.global_batch=512`, `--set balance.policy=static`,
`--set hosts.laptop.max_batch=64`. The value is TOML, else text. `run.steps` so given takes the place of the file's
`epochs`, and the other way round. `motley run --only laptop` leaves the other hosts out.

Every mistake is named at once, with its line and what to do; the command then ends with exit code 2.
"""


def _problem(keys: type, name: str, value: Any, detail: ErrorDetails) -> Problem:
    """pydantic's finding in our words."""
    loc = tuple(detail["loc"])
    hint, limits = get_type_hints(keys)[name], _field(keys, name).metadata
    key = key_of(_field(keys, name))
    if (
        get_origin(hint) in (Union, types.UnionType)
        and len(own := [one for one in get_args(hint) if one is not types.NoneType]) == 1
    ):
        hint = own[0]
    if name in _words(keys):
        return Problem((key,), f"must be {_words(keys)[name]}, is {shown(value)}")
    if len(loc) > 1 and get_origin(hint) in (tuple, dict):
        hint, value = get_args(hint)[0 if get_origin(hint) is tuple else 1], value[loc[1]]
        return Problem((key, loc[1]), f"must be {words(hint)}, is {shown(value)}{_quotes(hint, value)}")
    bounds = [f"must be {text} {limits[key]}" for key, text in _BOUNDS.items() if key in detail.get("ctx", {})]
    required = bounds[0] if bounds else f"must be {words(hint)}"
    return Problem((key,), f"{required}, is {shown(value)}{_quotes(hint, value)}")


def _quotes(hint: Any, value: Any) -> str:
    """The remedy for the commonest slip, a number or a truth value in quotes or a text without them."""
    accepted = set(get_args(hint)) or {hint}
    if str in accepted and isinstance(value, (bool, int, float)):
        return f'; write it in quotes: "{shown(value)}"'
    if not accepted & {int, float, bool} or not isinstance(value, str):
        return ""
    unquoted = value.strip().removeprefix("-").replace(".", "", 1).isdecimal() or value in ("true", "false")
    return "; write it without quotes" if unquoted else ""


def _value_problem(f: dataclasses.Field[Any], value: Any) -> str | None:
    """What the type can't say: numbers too large for TOML, and the rule of the key itself."""
    numbers = value if isinstance(value, tuple) else (value,)
    if any(isinstance(n, int) and abs(n) > MAX_INT for n in numbers):
        return f"is too large; whole numbers end at {MAX_INT}"
    problem = f.metadata["check"](value) if "check" in f.metadata else None
    return f"{shown(value)} {problem}" if problem and isinstance(value, str) else problem


@functools.cache
def _model(keys: type, omit: tuple[str, ...]) -> type[pydantic.BaseModel]:
    """The pydantic model of an option class: no other keys, no conversions but from a whole number to a number."""
    hints = get_type_hints(keys)
    fields: dict[str, Any] = {
        f.name: (hints[f.name], pydantic.Field(default=None, **{b: f.metadata[b] for b in _BOUNDS if b in f.metadata}))
        for f in _fields(keys, omit)
    }
    config = pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    return pydantic.create_model(keys.__name__, __config__=config, **fields)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _fields(keys: type, omit: Sequence[str] = ()) -> list[dataclasses.Field[Any]]:
    return [f for f in dataclasses.fields(keys) if f.name not in omit]


def _field(keys: type, name: str) -> dataclasses.Field[Any]:
    return next(f for f in dataclasses.fields(keys) if f.name == name)


def _words(keys: type) -> dict[str, str]:
    return {f.name: f.metadata["words"] for f in dataclasses.fields(keys) if "words" in f.metadata}


def _any_of(choices: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(choices[:-1]), choices[-1]]))


def _row(keys: type, f: dataclasses.Field[Any]) -> str:
    value = _words(keys).get(f.name) or words(get_type_hints(keys)[f.name])
    bounds = [f"{text} {f.metadata[key]}" for key, text in _BOUNDS.items() if key in f.metadata]
    default = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
    written = "" if default is None or default in ((), {}) else f"`{json.dumps(default)}`"
    return f"| `{key_of(f)}` | {', '.join([value, *bounds])} | {written} | {f.metadata['doc']} |"


def _defaults_of(task: str, defaults: dict[str, Any]) -> str:
    """What of `[run]` is another default with a task that comes with Motley."""
    said = ", ".join(f"`{key} = {json.dumps(value)}`" for key, value in defaults.items())
    return f'With `task = "{task}"` the defaults are {said}.\n'


if __name__ == "__main__":
    sys.stdout.write(reference())

"""Which runs a sweep has, and which of them are still to be made: by their names and folders alone. Pure, but for
`newest_of`, which looks at the folders.

    >>> settings_of(["run.learning_rate=0.1,0.03", "run.seed=1"])
    [('run.learning_rate=0.1', 'run.seed=1'), ('run.learning_rate=0.03', 'run.seed=1')]
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motley.remote.errors import UsageError
from motley.remote.sanitize import clean
from motley.trainer.contract.wire import END_STATES

MOST_RUNS = 200
MOST_BYTES = 4 << 20  # of a summary, and of a cluster.toml
_HEAD = "# Changed on the command line:"
_CHANGED = re.compile(r"^# --set (.+)$", re.MULTILINE)  # as `remote.config.load` writes it
_OPEN, _CLOSE, _QUOTES = "[{", "]}", "\"'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A run of a sweep as its folder has it. `state` is empty where nothing says that it has ended. `goes_on_from`: the
    newest of it and those before it that has come to anything; None where none has."""

    name: str
    state: str
    goes_on_from: str | None


def settings_of(sets: Sequence[str]) -> list[tuple[str, ...]]:
    """Each run's `--set` texts: every value of each key with every value of the others, the last key changing first.

    Raises UsageError for what is no KEY=VALUE, a key that is given twice, and for too many runs.
    """
    keys: dict[str, list[str]] = {}
    for text in sets:
        key, equals, values = text.partition("=")
        key = key.strip()
        found = [value.strip() for value in split(values)]
        if not key or not equals or "" in found:
            raise UsageError(f"--set {text} is not KEY=VALUE,VALUE, such as run.learning_rate=0.1,0.03")
        if key in keys:
            raise UsageError(f"--set {key} is given twice: put its values into one, KEY=VALUE,VALUE")
        if len(set(found)) < len(found):
            raise UsageError(f"--set {text} has a value twice")
        keys[key] = found
    count = 1
    for found in keys.values():
        count *= len(found)
    if count < 2:
        raise UsageError("a sweep is of two runs or more: --set run.learning_rate=0.1,0.03")
    if count > MOST_RUNS:
        raise UsageError(f"these are {count:,} runs, and a sweep has at most {MOST_RUNS}")
    return [
        tuple(f"{key}={value}" for key, value in zip(keys, values, strict=True))
        for values in itertools.product(*keys.values())
    ]


def split(values: str) -> list[str]:
    """At the commas that are in no list, table or text.

    >>> split('1,[2,3],"a,b"')
    ['1', '[2,3]', '"a,b"']
    """
    parts, depth, quote = [""], 0, ""
    for character in values:
        if quote:
            quote = "" if character == quote else quote
        elif character in _QUOTES:
            quote = character
        elif character in _OPEN:
            depth += 1
        elif character in _CLOSE:
            depth -= 1
        if character == "," and not quote and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def name_of(settings: Sequence[tuple[str, ...]]) -> str:
    """The same for the same settings: by it a sweep is gone on with."""
    return f"sweep-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]}"


def names(sweep: str, number: int) -> tuple[str, str]:
    """Of the run of a number, from 1: its name, and what begins the names of those that go on from it."""
    return f"{sweep}-{number}", f"{sweep}-{number}-r"


def newest_of(experiments: Path, sweep: str, number: int, settings: tuple[str, ...]) -> tuple[Attempt | None, str]:
    """The newest run there of that number, and the name of the next one.

    Raises UsageError where a run of that name has other settings.
    """
    first, later = names(sweep, number)
    found, free, newest = None, first, None
    for attempt in itertools.count(2):
        folder = experiments / free
        if not folder.exists():
            return found, free
        other = _changed(folder)
        if other is not None and other != {clean(text) for text in settings}:
            raise UsageError(
                f"{folder} is a run with other settings ({', '.join(sorted(other)) or 'none of its own'}): "
                "choose another --name for this sweep"
            )
        summary = _summary(folder)
        state, steps = summary.get("state"), summary.get("steps")
        if (type(steps) is int and steps > 0) or any((folder / "checkpoints").glob("*.pt")):
            newest = free
        found = Attempt(name=free, state=state if state in END_STATES else "", goes_on_from=newest)
        free = f"{later}{attempt}"
    raise AssertionError


def _changed(folder: Path) -> set[str] | None:
    """What the command line changed of its cluster.toml; None where that is not there."""
    text = _read(folder / "cluster.toml")
    return None if text is None else set(_CHANGED.findall(text.partition(_HEAD)[2]))


def _summary(folder: Path) -> dict[str, Any]:
    try:
        table = json.loads(_read(folder / "summary.json") or "")
    except (ValueError, RecursionError):
        return {}
    return table if isinstance(table, dict) else {}


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return None

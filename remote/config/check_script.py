"""What cluster.toml says of a script: which keys go together, and which of the others a script does not heed.

One that calls `motley.session()` heeds more of them. Whether it does shows when it runs; here its text is looked at.

`remote.config.load` asks when it checks the file; the files themselves are looked at by `remote.provision.project`.

    >>> table = {"run": {"script": "train.py", "epochs": 3}, "balance": {"policy": "static"}}
    >>> unheeded(table), unheeded(table, session=True)
    (('run.epochs', 'balance.policy'), ('run.epochs',))
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from motley.remote.config import value_rules
from motley.remote.config.problems import Problems
from motley.remote.config.schema import shown
from motley.trainer.contract import result_patterns
from motley.trainer.contract.spec import BalanceOptions, RunOptions

PROGRAMS = ("script", "module", "command")  # one of them takes the place of task
RUN_PROGRAMS = tuple(("run", key) for key in PROGRAMS)
LATEST = "latest"  # in experiments/<run>/results/, beside the folders of the hosts
RESULTS = ("results", "results_from", "results_gib")
HEEDED = {
    "run": frozenset({*PROGRAMS, *RESULTS, "args", "project", "threads", "join_timeout_s", "stop_grace_s"}),
    "elastic": frozenset({"min_hosts", "lost_after_s", "hold_s", "restarts"}),
    "balance": frozenset[str](),
    "data": frozenset({"push", "path"}),
}
HEEDED_BY_SESSIONS = {
    "run": frozenset(
        {
            "seed",
            "global_batch",
            "backend",
            "step_timeout_s",
            "on_nan",
            "checkpoint_every",
            "checkpoint_steps",
            "checkpoint_minutes",
            "keep_checkpoints",
        }
    ),
    "elastic": frozenset({"stuck_after_s"}),
    "balance": frozenset(field.name for field in dataclasses.fields(BalanceOptions)),
    "data": frozenset[str](),
}
_SESSION = re.compile(r"\bmotley\.session\s*\(|^\s*from\s+motley\s+import\s[^#\n]*\bsession\b", re.MULTILINE)
_HIGHEST_PORT = 65534  # the coordinator takes the next one


def check_script(run: RunOptions, port: int, table: Mapping[str, Any], problems: Problems) -> None:
    """Everything about `[run] script`, `module` or `command` that the file alone can tell."""
    given = _keys(table, "run")
    named = [key for key in (*PROGRAMS, "task") if key in given]
    if "args" in given and not set(named) - {"task"}:
        problems.add(("run", "args"), 'is for a script; name one, such as script = "train.py"')
    if "results" in given and not set(named) - {"task"}:
        problems.add(("run", "results"), "is for a script; what a task saves comes home as its checkpoints")
    if named in ([], ["task"]):
        return
    for key in named[1:]:
        problems.add(("run", key), f"{named[0]} is given too; keep one of them")
    for key, text in (("script", run.script), ("project", run.project)):
        problem = None if text is None else value_rules.path_problem(text)
        if problem:
            problems.add(("run", key), f"{shown(text)} {problem}")
    if run.module is not None and run.module.endswith(".py"):
        problems.add(("run", "module"), f"{shown(run.module)} is a file: name it as script, or take .py away")
    elif run.module is not None and not all(map(str.isidentifier, run.module.split("."))):
        text = f'{shown(run.module)} is no module; name one as after python -m, such as "src.training.main"'
        problems.add(("run", "module"), text)
    if "command" in given and not problems.touches(("run", "command")):
        problem = value_rules.path_problem(run.command[0]) if run.command else "is empty; leave the key out instead"
        if problem:
            problems.add(("run", "command"), f"{shown(run.command[0])} {problem}" if run.command else problem)
    for key, words in (("command", run.command), ("args", run.args)):
        odd = next((n for n, text in enumerate(words) if "\0" in text), None)
        if odd is not None:
            problems.add(("run", key, odd), "has a NUL character, which no argument can hold")
    for number, pattern in enumerate(run.results):
        if problem := result_patterns.problem(pattern):
            problems.add(("run", "results", number), f"{shown(pattern)} {problem}")
    if run.results and any(host.get("name") == LATEST for host in _tables(table, "hosts")):
        text = (
            f'a host is called "{LATEST}", where results/{LATEST} is to lead to the newest; give the host another name'
        )
        problems.add(("run", "results"), text)
    if port > _HIGHEST_PORT:
        problems.add(("cluster", "port"), f"must be at most {_HIGHEST_PORT} for a script: Motley takes the next one")


def program_key(run: RunOptions) -> str:
    """Under which key the program stands that takes the place of a task."""
    return next((key for key in PROGRAMS if getattr(run, key)), "script")


def calls_session(run: RunOptions, beside: Path) -> bool:
    """Whether the program calls `motley.session()` as it seems; a file that it imports may call it all the same.

    `beside`: the folder of cluster.toml, where paths begin. Of a command the Python files that it names are read.
    """
    root = beside / os.path.expanduser(run.project or "")
    files = [beside / run.script] if run.script else []
    if run.module:
        place = root.joinpath(*run.module.split("."))
        files += [place / "__main__.py", place.with_name(f"{place.name}.py")]
    files += [root / word for word in run.command if word.endswith(".py")]
    return any(map(_calls_session, files))


def _calls_session(file: Path) -> bool:
    try:
        return _SESSION.search(file.read_text(encoding="utf-8", errors="replace")) is not None
    except (OSError, ValueError):  # `remote.provision.project` says why
        return False


def unheeded(table: Mapping[str, Any], *, session: bool = False) -> tuple[str, ...]:
    """The keys in the file that a script does not heed, with a `session` in it or without."""
    heeded = {section: keys | (HEEDED_BY_SESSIONS[section] if session else set()) for section, keys in HEEDED.items()}
    found = [f"{section}.{key}" for section in heeded for key in _keys(table, section) if key not in heeded[section]]
    capped = any("max_batch" in host for host in [*_tables(table, "hosts"), *_tables(table, "defaults")])
    return (*found, *(["hosts.max_batch"] if capped and not session else []))


def _tables(table: Mapping[str, Any], section: str) -> list[dict[str, Any]]:
    found = table.get(section)
    return [one for one in (found if isinstance(found, list) else [found]) if isinstance(one, dict)]


def _keys(table: Mapping[str, Any], section: str) -> list[str]:
    keys = table.get(section)
    return list(keys) if isinstance(keys, dict) else []

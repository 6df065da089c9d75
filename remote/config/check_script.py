"""What cluster.toml says of a script: which keys go together, and which of the others a script does not heed.

One that calls `motley.session()` heeds more of them. Whether it does shows when it runs; here its text is looked at.

`remote.config.load` asks when it checks the file; the files themselves are looked at by `remote.provision.project`.

    >>> table = {"run": {"script": "train.py", "epochs": 3}, "balance": {"policy": "static"}}
    >>> unheeded(table), unheeded(table, session=True)
    (('run.epochs', 'balance.policy'), ('run.epochs',))
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from motley.remote.config import value_rules
from motley.remote.config.problems import Problems
from motley.remote.config.schema import shown
from motley.trainer.contract.spec import BalanceOptions, RunOptions

HEEDED = {
    "run": frozenset({"script", "args", "project", "threads", "join_timeout_s", "stop_grace_s"}),
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
    """Everything about `[run] script` that the file alone can tell."""
    given = _keys(table, "run")
    if run.script is None:
        if "args" in given and "script" not in given:
            problems.add(("run", "args"), 'is for a script; name one, such as script = "train.py"')
        return
    if "task" in given:
        problems.add(("run", "task"), "script is given too; keep one of them")
    for key, path in (("script", run.script), ("project", run.project)):
        problem = None if path is None else value_rules.path_problem(path)
        if problem:
            problems.add(("run", key), f"{shown(path)} {problem}")
    odd = next((n for n, text in enumerate(run.args) if "\0" in text), None)
    if odd is not None:
        problems.add(("run", "args", odd), "has a NUL character, which no argument can hold")
    if port > _HIGHEST_PORT:
        problems.add(("cluster", "port"), f"must be at most {_HIGHEST_PORT} for a script: Motley takes the next one")


def calls_session(script: Path) -> bool:
    """Whether the file calls `motley.session()` as it seems; one that it imports may call it all the same."""
    try:
        return _SESSION.search(script.read_text(encoding="utf-8", errors="replace")) is not None
    except (OSError, ValueError):  # `remote.provision.project` says why
        return False


def unheeded(table: Mapping[str, Any], *, session: bool = False) -> tuple[str, ...]:
    """The keys in the file that a script does not heed, with a `session` in it or without."""
    heeded = {section: keys | (HEEDED_BY_SESSIONS[section] if session else set()) for section, keys in HEEDED.items()}
    found = [f"{section}.{key}" for section in heeded for key in _keys(table, section) if key not in heeded[section]]
    hosts = table.get("hosts")
    hosts = [*(hosts if isinstance(hosts, list) else []), table.get("defaults")]
    capped = any(isinstance(host, dict) and "max_batch" in host for host in hosts)
    return (*found, *(["hosts.max_batch"] if capped and not session else []))


def _keys(table: Mapping[str, Any], section: str) -> list[str]:
    keys = table.get(section)
    return list(keys) if isinstance(keys, dict) else []

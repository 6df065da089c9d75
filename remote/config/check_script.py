"""What cluster.toml says of a script: which keys go together, and which of the others a script does not heed.

`remote.config.load` asks when it checks the file; the files themselves are looked at by `remote.provision.project`.

    >>> unheeded({"run": {"script": "train.py", "epochs": 3}, "balance": {"policy": "static"}})
    ('run.epochs', 'balance.policy')
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from motley.remote.config import value_rules
from motley.remote.config.problems import Problems
from motley.remote.config.schema import shown
from motley.trainer.contract.spec import RunOptions

HEEDED = {
    "run": frozenset({"script", "args", "project", "threads", "join_timeout_s", "stop_grace_s"}),
    "elastic": frozenset({"min_hosts", "lost_after_s", "hold_s", "restarts"}),
    "balance": frozenset[str](),
    "data": frozenset({"push", "path"}),
}
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


def unheeded(table: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys in the file that a script does not heed."""
    found = [f"{section}.{key}" for section in HEEDED for key in _keys(table, section) if key not in HEEDED[section]]
    hosts = table.get("hosts")
    hosts = [*(hosts if isinstance(hosts, list) else []), table.get("defaults")]
    capped = any(isinstance(host, dict) and "max_batch" in host for host in hosts)
    return (*found, *(["hosts.max_batch"] if capped else []))


def _keys(table: Mapping[str, Any], section: str) -> list[str]:
    keys = table.get(section)
    return list(keys) if isinstance(keys, dict) else []

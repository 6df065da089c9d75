"""What cluster.toml says of a script: which keys go together, and which of the others a script does not heed.

`remote.cluster` asks when it checks the file; the files themselves are looked at by `remote.project`.

    >>> unheeded({"run": {"script": "train.py", "epochs": 3}, "balance": {"policy": "static"}})
    ('run.epochs', 'balance.policy')
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from remote import rules
from remote.errors import UsageError
from remote.problems import Problems
from remote.schema import shown
from trainer.spec import RunOptions

if TYPE_CHECKING:
    from remote.cluster import Cluster

HEEDED = {
    "run": frozenset({"script", "args", "project", "threads", "join_timeout_s", "stop_grace_s"}),
    "elastic": frozenset({"min_hosts", "lost_after_s", "hold_s", "restarts"}),
    "balance": frozenset[str](),
    "data": frozenset({"push"}),
}
_HIGHEST_PORT = 65534  # the coordinator takes the next one


def check_script(run: RunOptions, port: int, table: Mapping[str, Any], problems: Problems) -> None:
    """Everything about `[run] script` that the file alone can tell."""
    given = _keys(table, "run")
    if run.script is None:
        for key in ("args", "project"):
            if key in given and "script" not in given:
                problems.add(("run", key), 'is for a script; name one, such as script = "train.py"')
        return
    if "task" in given:
        problems.add(("run", "task"), "script is given too; keep one of them")
    for key, path in (("script", run.script), ("project", run.project)):
        problem = None if path is None else rules.path_problem(path)
        if problem:
            problems.add(("run", key), f"{shown(path)} {problem}")
    odd = next((n for n, text in enumerate(run.args) if "\0" in text), None)
    if odd is not None:
        problems.add(("run", "args", odd), "has a NUL character, which no argument can hold")
    if port > _HIGHEST_PORT:
        problems.add(("cluster", "port"), f"must be at most {_HIGHEST_PORT} for a script: Motley takes the next one")


def needs_task(cluster: Cluster, what: str) -> None:
    """Raises UsageError when the run is of a script, for `what` only a task can do."""
    if cluster.run.script is not None:
        raise UsageError(f"{what} is for a task; this run is of the script {cluster.run.script} ([run] script)")


def check_resume(cluster: Cluster, resume: str | None) -> None:
    """Raises UsageError for `--resume` with a script: Motley knows nothing of its checkpoints."""
    if resume is not None and cluster.run.script is not None:
        raise UsageError(
            f"--resume {resume} is for a task: the script {cluster.run.script} goes on from checkpoints of its own; "
            "give it where they are in [run] args, or with --set"
        )


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

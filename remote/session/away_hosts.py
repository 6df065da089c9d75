"""Which host is another machine than this one by all that is known: for what is asked of no run by name.

>>> away(cluster, {"desktop": [], "box1": [night]})
{'desktop'}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from motley.remote.config.cluster import Cluster
from motley.remote.errors import HostError
from motley.remote.experiment.folder import experiments_folder
from motley.remote.experiment.machines import FILE, recorded_machines
from motley.remote.hosts.this_machine import elsewhere, machine_id

Answers = Mapping[str, Sequence[Mapping[str, Any]] | HostError]


def away(cluster: Cluster, answers: Answers) -> set[str]:
    """The hosts that are the machine itself, and another one than this in each run that is known of them: to the
    hosts, by their `answers` to `status`, or here."""
    told = {name: _by_run(rows) for name, rows in answers.items() if not isinstance(rows, HostError)}
    kept = {path.parent.name: recorded_machines(path.parent) for path in experiments_folder(cluster).glob(f"*/{FILE}")}
    gone: set[str] = set()
    here: set[str] = set()
    for run in {*kept, *(run for rows in told.values() for run in rows)}:
        tables = {name: rows.get(run, {}) for name, rows in told.items()}
        found = elsewhere(cluster, tables, kept.get(run, {}), machine_id())
        gone.update(found)
        here.update(name for name, table in tables.items() if table and name not in found)
    return gone - here


def _by_run(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {str(row["run"]): row for row in rows}

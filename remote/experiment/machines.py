"""`experiments/<run>/machines.json`: which machine the host with `connect = "local"` was.

Other machines that have the folder know by it that they are not that one.

    >>> recorded_machines(folder)
    {'desktop': 'f6a1…'}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from motley.remote.experiment.folder import Experiment

FILE = "machines.json"


def record_machines(experiment: Experiment, machines: Mapping[str, str]) -> None:
    """Beside those that are there. Raises RunFailed where it can't be written."""
    before = recorded_machines(experiment.folder)
    if machines.items() - before.items():
        experiment.write_whole(FILE, json.dumps({**before, **machines}).encode() + b"\n")


def recorded_machines(folder: Path) -> dict[str, str]:
    """Empty where nothing is, or nothing that can be read."""
    try:
        found = json.loads((folder / FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(host): str(machine) for host, machine in found.items()} if isinstance(found, dict) else {}

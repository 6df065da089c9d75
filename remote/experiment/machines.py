"""`experiments/<run>/machines.json`: which machine the host with `connect = "local"` was; `instances.json`: which of
several machines, one after the other, each host was last, where it is not always the same.

Other machines that have the folder know by the first that they are not that one.

    >>> recorded_machines(folder)
    {'desktop': 'f6a1…'}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from motley.remote.experiment.folder import Experiment

FILE, INSTANCES = "machines.json", "instances.json"


def record_machines(experiment: Experiment, machines: Mapping[str, str]) -> None:
    """Beside those that are there. Raises RunFailed where it can't be written."""
    before = recorded_machines(experiment.folder)
    if machines.items() - before.items():
        experiment.write_whole(FILE, json.dumps({**before, **machines}).encode() + b"\n")


def instance_of(experiment: Experiment, host: str) -> str:
    """Which machine the host was last; empty where that is not known."""
    return {**(_recorded(experiment.folder / INSTANCES) if experiment.writable else {}), **experiment.instances}.get(
        host, ""
    )


def met(experiment: Experiment, host: str, instance: str) -> None:
    """The host is this machine now: where that is another one than before, its files are read from their beginning.
    Raises RunFailed where it can't be written."""
    before = {**(_recorded(experiment.folder / INSTANCES) if experiment.writable else {}), **experiment.instances}
    if not instance or before.get(host) == instance:
        return
    if host in before:
        experiment.begins_anew(host)
    experiment.instances[host] = instance
    experiment.write_whole(INSTANCES, json.dumps({**before, host: instance}).encode() + b"\n")


def recorded_machines(folder: Path) -> dict[str, str]:
    """Empty where nothing is, or nothing that can be read."""
    return _recorded(folder / FILE)


def _recorded(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(host): str(machine) for host, machine in found.items()} if isinstance(found, dict) else {}

"""The runs that have processes on a host, and whether anybody looks after them. Runs there: see `trainer.bootstrap`."""

from __future__ import annotations

import json
import os
from typing import Any

from motley.trainer.bootstrap.files import OURS, names, text


def run_of(environ: list[str]) -> str:
    """The folder of the run that a process belongs to, which ends in the run's name and the host's; empty for none.

    The folder alone is read of its tags: a process that was forked just now is writing them anew
    (`trainer.host.process_title`).
    """
    return next((word.partition("=")[2] for word in environ if word.startswith("MOTLEY_DIR=")), "")


def leftovers() -> list[dict[str, Any]]:
    """A table a run: `run`, `host` (its name in that run), `pids`, `supervised`. By the tags in their environment."""
    found: dict[str, dict[str, Any]] = {}
    ours = os.path.join(OURS, "runs", "")
    for pid in filter(str.isdigit, names("/proc")):
        folder = run_of(text(f"/proc/{pid}/environ").split("\0"))
        if folder.startswith(ours) and _start(pid):
            before, host = os.path.split(folder)
            row = {"run": os.path.basename(before), "host": host, "pids": []}
            found.setdefault(folder, row)["pids"].append(int(pid))
    return [{**row, "supervised": _supervised(folder)} for folder, row in sorted(found.items())]


def _supervised(folder: str) -> bool:
    """Whether the supervisor that the run's folder tells of is alive."""
    try:
        state = json.loads(text(os.path.join(folder, "state.json")))
        boot = text("/proc/sys/kernel/random/boot_id")
        return bool(state["boot_id"] == boot and _start(str(state["pid"])) == str(state["start"]))
    except (ValueError, KeyError, TypeError):
        return False


def _start(pid: str) -> str:
    """When the process started, in ticks since boot; empty when it is gone."""
    fields = text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] not in "ZX" else ""

"""The runs that have processes on a host, and whether anybody looks after them. Runs there: see `remote.bootstrap`."""

from __future__ import annotations

import json
import os
from typing import Any

from remote.bootstrap.files import OURS, names, text


def leftovers() -> list[dict[str, Any]]:
    """A table a run: `run`, `host` (its name in that run), `pids`, `supervised`. By the tags in their environment."""
    found: dict[str, dict[str, Any]] = {}
    ours = "MOTLEY_DIR=" + os.path.join(OURS, "runs") + "/"
    for pid in filter(str.isdigit, names("/proc")):
        words = text(f"/proc/{pid}/environ").split("\0")
        folder = next((word[11:] for word in words if word.startswith(ours)), "")
        if folder and _start(pid):
            tags = dict(word.split("=", 1) for word in words if word.startswith("MOTLEY_"))
            row = {"run": tags.get("MOTLEY_RUN", ""), "host": tags.get("MOTLEY_HOST", ""), "pids": []}
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

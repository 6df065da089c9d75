"""`state.json` in a run's folder on a host: how the run is there, for whoever asks. Written by its supervisor.

It is touched again and again while the supervisor lives, which is its sign of life, and written when it has changed.

    >>> StateFile(spec, folder).write({"state": "running", "ranks": ranks(children)})
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from motley.trainer.contract.spec import Spec
from motley.trainer.host import processes
from motley.trainer.host.paths import HERE, write_json
from motley.trainer.supervisor.child import Child


class StateFile:
    """Of one supervisor: who that is stays the same."""

    def __init__(self, spec: Spec, folder: Path) -> None:
        self._path = folder / "state.json"
        self._spec = spec
        self._folder = folder
        self._written: dict[str, Any] | None = None  # what the file has

    def write(self, now: dict[str, Any]) -> None:
        """What is so now. Raises OSError; the next call tries it again."""
        table = {**self._always(), **now}
        if table == self._written:
            os.utime(self._path)  # a sign of life
            return
        self._written = None
        write_json(self._path, {**table, "time": time.time()})
        self._written = table

    def _always(self) -> dict[str, Any]:
        return {
            "run": self._spec.run,
            "host": self._spec.host,
            "leader": self._spec.leader,
            "pid": os.getpid(),
            "start": processes.start_ticks(os.getpid()),
            "boot_id": processes.boot_id(),
            "tags": processes.tags(self._spec.run, self._spec.host, self._folder),
            "code": str(HERE),
            "python": sys.executable,
        }


def ranks(children: Iterable[Child]) -> list[dict[str, Any]]:
    """What the file says of each rank's process."""
    return [
        {"member": c.member.member, "pid": c.pid, "start": c.start, "code": c.code}
        for c in children
        if c.member is not None
    ]

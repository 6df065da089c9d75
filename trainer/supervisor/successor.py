"""The run that is to follow another one in the same processes: what `trainer.verbs.rerun` and the supervisor tell each
other, in `rerun.json` of the old run's folder.

    rerun, once this host can:    Successor(folder).announce()      # its master asks the other hosts
    rerun, for "go":              Successor(folder).ask(spec, received=time.time())
    rerun, else:                  Successor(folder).withdraw()
    supervisor, at the end:       Successor(folder).may_come()      # then it stays for the word
                                  Successor(folder).asked()         # the new run's spec

Hosts hear "go" one after the other, and a run may have ended on one before its turn: the host that leads was first. So
a supervisor stays as long as the one that has announced a run is there. This module imports little (`rerun`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from motley.trainer.contract.spec import Spec
from motley.trainer.host import processes
from motley.trainer.host.paths import read_json, write_json

FILE = "rerun.json"


class Successor:
    """Of the run in `folder`. Writing raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def announce(self) -> None:
        """This process may ask for a run, as long as it lives."""
        write_json(self._path, _me())

    def withdraw(self) -> None:
        """This process asks for none."""
        if read_json(self._path) == _me():
            self.forget()

    def ask(self, spec: Spec, *, received: float) -> None:
        """`spec`: of the new run on this host; `received`: when the command for it came."""
        write_json(self._path, {"received": received, "spec": spec.to_json()})

    def refuse(self, why: str) -> None:
        """The run that was asked for can't follow."""
        write_json(self._path, {"why": why})

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)

    def may_come(self) -> bool:
        """Whether somebody has announced a run and is still there, or has asked for it and is about to tell."""
        table = read_json(self._path)
        if "spec" in table:
            return True
        try:
            pid, start, boot = int(table["pid"]), int(table["start"]), str(table["boot_id"])
        except (KeyError, TypeError, ValueError):
            return False
        return processes.same_process(pid, start, boot)

    def is_asked_for(self) -> bool:
        return "spec" in read_json(self._path)

    def asked(self) -> tuple[Spec, float]:
        """The spec, and when it was received. Raises ValueError, KeyError or TypeError where there is none."""
        table = read_json(self._path)
        return Spec.from_json(str(table["spec"])), float(table["received"])

    def why(self) -> str:
        """Why the run could not follow; empty where nobody has said."""
        return str(read_json(self._path).get("why") or "")


def _me() -> dict[str, Any]:
    pid = os.getpid()
    return {"pid": pid, "start": processes.start_ticks(pid), "boot_id": processes.boot_id()}

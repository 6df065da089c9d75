"""The verb `lead`: another host leads the run from now on."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any, BinaryIO

from motley.trainer.contract.run_changes import Lead
from motley.trainer.contract.spec import Spec
from motley.trainer.host import processes
from motley.trainer.host.leader import follow, lead_of
from motley.trainer.host.paths import read_json, run_folder


def lead(run: str, host: str, stdin: BinaryIO) -> dict[str, Any]:
    """Take notice of who leads the run: `stdin` is a `Lead` in JSON. The supervisor and the ranks look at it.

    Answers who leads it as far as this host knows now: the one it was told, or one of a term as high or higher.
    """
    folder = run_folder(run, host)
    spec = Spec.from_json((folder / "spec.json").read_bytes())
    if follow(folder, spec, Lead.from_table(json.loads(stdin.read()))):
        wake(folder)
    return {"lead": dataclasses.asdict(lead_of(folder, spec))}


def wake(folder: Path) -> None:
    """Have the run's supervisor look around at once: a child's signal does that."""
    state = read_json(folder / "state.json")
    if processes.same_process(int(state.get("pid", 0)), int(state.get("start", 0)), str(state.get("boot_id"))):
        processes.send_to(int(state["pid"]), int(state["start"]), signal.SIGCHLD)

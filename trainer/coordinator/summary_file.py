"""`summary.json` in the run's folder on the host that leads: written while the run goes on, and at its end.

What is in it `trainer.coordinator.summary` says; `experiments/<run>/` gets its copy by
`remote.experiment.experiment_writer`.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from motley.trainer.contract.wire import RunState
from motley.trainer.coordinator.summary import RunSummary
from motley.trainer.host.journal import Journal
from motley.trainer.host.paths import read_json, write_json


def go_on_from_summary(folder: Path, summary: RunSummary) -> None:
    """With the figures that a former coordinator of this host has written; without them when they make no sense."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        summary.go_on_from(read_json(folder / "summary.json"))


def write_summary(folder: Path, summary: RunSummary, state: RunState, hosts: dict[str, str], journal: Journal) -> None:
    """A disk that can't take it is told of in the journal. Before the run's end nobody waits for the disk."""
    try:
        table = summary.summary(state, hosts, now=time.time())
        write_json(folder / "summary.json", table, sync=state != "running")
    except OSError as error:
        journal.write("note", f"summary.json not written: {error}", "warning")

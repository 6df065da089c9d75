"""How a run is on this host, from its `state.json` and its processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from motley.trainer.contract.wire import END_STATES
from motley.trainer.host import processes
from motley.trainer.host.paths import read_json


def state_of(folder: Path) -> dict[str, Any]:
    """The supervisor's `state.json`; `state` is "lost" when the supervisor is gone without having ended the run."""
    state = read_json(folder / "state.json")
    if not state or state.get("state") in END_STATES:
        return state
    if processes.same_process(int(state["pid"]), int(state["start"]), str(state["boot_id"])):
        return state
    rebooted = state["boot_id"] != processes.boot_id()
    return {
        **state,
        "state": "lost",
        "cause": "the host was rebooted" if rebooted else "Motley's process on this host was killed",
    }

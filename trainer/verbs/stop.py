"""The verb `stop`: the run ends on this host, and what is left of it is counted."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import Any

from motley.trainer.contract.wire import END_STATES
from motley.trainer.host import processes
from motley.trainer.host.journal import Journal
from motley.trainer.host.lock_and_spec import container_of
from motley.trainer.host.paths import read_json, run_folder, write_json
from motley.trainer.host.run_state import state_of

KILL_BOUND_S = 15.0


LOOK_S, LOOK_SHARE = 0.02, 0.02  # between two looks: so long, and a share of the time that the stop has taken so far


def stop(run: str, host: str, reason: str) -> dict[str, Any]:
    """End everything of the run on this host and return `{"left": processes and containers still there, "state": …}`.

    A living supervisor is asked and waited for; where there is none, its leftovers are swept away here.
    """
    folder = run_folder(run, host)
    if not folder.is_dir():
        return {"left": 0, "state": "unknown"}
    state = state_of(folder)
    if state and state.get("state") not in END_STATES:
        spec = read_json(folder / "spec.json")
        grace_s = float(spec.get("options", {}).get("stop_grace_s", 10.0))
        with contextlib.suppress(OSError):  # a full or read-only disk: it is stopped all the same, without its reason
            write_json(folder / "stop.json", {"reason": reason, "time": time.time()})
        pid, start, boot = int(state["pid"]), int(state["start"]), str(state["boot_id"])
        if processes.same_process(pid, start, boot):
            processes.send_to(pid, start, signal.SIGTERM)
        asked = time.monotonic()
        deadline = asked + grace_s + KILL_BOUND_S
        while processes.same_process(pid, start, boot) and time.monotonic() < deadline:
            if read_json(folder / "state.json").get("state") in END_STATES and pid not in processes.tagged(folder):
                break  # the supervisor goes on with another run
            time.sleep(LOOK_S + LOOK_SHARE * (time.monotonic() - asked))
    left = processes.end(folder, grace_s=0.0)
    if read_json(folder / "state.json").get("state") in END_STATES:  # what has dropped its tags, the supervisor knows
        left = max(left, int(read_json(folder / "state.json").get("left", 0)))
    if container := container_of(folder):
        from motley.trainer.supervisor import containers

        journal = Journal(folder, host=host, source="stop")
        left += containers.end_of_run(container, folder, tell=lambda text: journal.write("note", text, "error"))
    state = read_json(folder / "state.json")
    if state and state.get("state") not in END_STATES:
        # The supervisor was gone already, or did not get to say so.
        journal = Journal(folder, host=host, source="stop")
        journal.write("ended", f"stopped, {left} processes left", state="stopped", left=left)
        with contextlib.suppress(OSError):  # a full or read-only disk: whoever asked gets to know
            write_json(folder / "state.json", {**state, "state": "stopped", "left": left, "time": time.time()})
        state["state"] = "stopped"
    return {"left": left, "state": state.get("state", "unknown")}

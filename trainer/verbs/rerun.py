"""A warm restart on one host: the supervisor that is there goes on with a new run, and keeps what has torch imported.

`python -m motley.trainer rerun` is a short conversation, so that a run is ended for its successor only when all hosts
can:

    master: the new run's `Spec` in one line
    host:   {"ok": true}, or {"ok": false, "why": "its environment has changed (OMP_NUM_THREADS)"}
    master: go
    host:   {"ok": true, "pid": …} once the old run has ended here and the new one has begun, or {"ok": false, "why": …}

The supervisor is told by a file (`trainer.supervisor.successor`), and ends the old run as if it had been stopped:
`trainer.supervisor.next_run` is its part after that. This module imports little: on a slow host the start of a Python
is most of what a restart takes.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any, BinaryIO, TextIO

from motley.trainer.contract.run_changes import Lead, Roll
from motley.trainer.contract.spec import Spec
from motley.trainer.contract.task_name import OwnTask
from motley.trainer.host import processes
from motley.trainer.host.leader import lead_of
from motley.trainer.host.paths import HERE, read_json, run_folder, write_json
from motley.trainer.host.run_members import roll_of
from motley.trainer.supervisor.successor import Successor

LOOK_S = 0.02
END_S = 25.0  # beyond the grace: the supervisor's own bounds, and the new run's first word


def rerun(run: str, host: str, stdin: BinaryIO, stdout: TextIO) -> int:
    """Have a new run follow `run` here. Returns 0 when it has begun."""

    def answer(why: str | None, **more: object) -> int:
        print(json.dumps({"ok": why is None, **({} if why is None else {"why": why}), **more}), file=stdout, flush=True)
        return int(why is not None)

    folder = run_folder(run, host)
    received, successor = time.time(), Successor(folder)
    try:
        new = Spec.from_json(stdin.readline())
        old = Spec.from_json((folder / "spec.json").read_bytes())
        new = dataclasses.replace(new, python=old.python)
        state = read_json(folder / "state.json")
        pid, start, boot = int(state["pid"]), int(state["start"]), str(state["boot_id"])
        why = why_cold(old, new, state, lead_of(folder, old), roll_of(folder))
        if why is None and not processes.same_process(pid, start, boot):
            why = "its supervisor has ended"
        if why is None and read_json(run_folder(new.run, host) / "spec.json"):
            why = f"there is a run named '{new.run}' already"
        if why is None:
            successor.announce()
    except (OSError, ValueError, KeyError, TypeError) as error:
        return answer(str(error))
    if answer(why):
        return 1
    if stdin.readline() != b"go\n":
        successor.withdraw()
        return 1
    successor.ask(new, received=received)
    write_json(folder / "stop.json", {"reason": f"restart as '{new.run}'", "time": received})
    if processes.same_process(pid, start, boot):
        processes.send_to(pid, start, signal.SIGTERM)
    deadline = time.monotonic() + old.options.stop_grace_s + END_S
    begun = run_folder(new.run, host)
    while time.monotonic() < deadline:
        if read_json(begun / "state.json"):
            return answer(None, pid=pid)
        if not processes.same_process(pid, start, boot):
            return answer(successor.why() or "its supervisor has ended")
        time.sleep(LOOK_S)
    return answer("the old run did not end in time")


def why_cold(old: Spec, new: Spec, state: Mapping[str, Any], lead: Lead, roll: Roll) -> str | None:
    """Why the processes of the old run can't serve the new one; None when they can. Tells no values of variables."""
    if state.get("state") not in ("starting", "running"):
        return f"the run is {state.get('state')} there"
    if old.script is not None or new.script is not None:
        return "a script is started anew each time"
    if new.own_task is not None and not _is_there(new.own_task, old.own_task):
        return "the files or the parameters of your task have changed"
    if new.own_policy is not None and new.own_policy.tree != old.project_tree:
        return "the files of your policy have changed"
    if old.container is not None:
        return "ranks in containers are started anew each time"
    if not state.get("forks"):
        return "the process that has torch imported is not there"
    if coming := [str(rank["member"]) for rank in state.get("ranks", ()) if rank["pid"] is None]:
        return f"rank {', '.join(coming)} is not there yet"
    if state.get("code") != str(HERE):
        return "the code has changed"
    if state.get("python") != sys.executable:
        return "its Python has changed"
    if changed := sorted({name for name, _ in old.env.items() ^ new.env.items()}):
        return f"its environment has changed ({', '.join(changed)})"
    if (old.emulated, len(old.local_members)) != (new.emulated, len(new.local_members)):
        return "its devices have changed"
    if lead.leader != new.leader:
        return f"{lead.leader} leads the run by now"
    if roll.edition:
        return "hosts have come to the run, or were taken out of it"
    return None


def _is_there(new: OwnTask, old: OwnTask | None) -> bool:
    return not new.tree or (old is not None and (new.tree, new.parameters) == (old.tree, old.parameters))

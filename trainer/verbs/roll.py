"""The verb `roll`: a host is added to the members of a run, or dropped."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

from motley.trainer.contract.spec import Member, Spec
from motley.trainer.contract.wire import END_STATES
from motley.trainer.host.leader import lead_of
from motley.trainer.host.paths import run_folder, write_json
from motley.trainer.host.run_members import FILE, admit, alone, drop, roll_of
from motley.trainer.host.run_state import state_of
from motley.trainer.host.session_mark import is_session


def change(run: str, host: str, stdin: BinaryIO) -> dict[str, Any]:
    """The verb `roll`: `stdin` is `{"admit": host, "devices": [members without a number of their own]}`, or
    `{"drop": host}`. Answers `{"roll": …}` as it is then, or `{"error": …}` when nothing was changed."""
    folder = run_folder(run, host)
    try:
        asked = json.loads(stdin.read())
        spec = Spec.from_json((folder / "spec.json").read_bytes())
        lead, state = lead_of(folder, spec), state_of(folder).get("state")
        if spec.script is not None and not is_session(folder):
            raise ValueError(
                f"'{run}' runs a script that has not called motley.session(), so its group can't change: "
                f"motley stop {run}, then start it anew"
            )
        if lead.leader != host:
            raise ValueError(f"{lead.leader} leads '{run}', not {host}")
        if state in END_STATES:
            raise ValueError(f"'{run}' is {state}: nobody can join or leave it")
        with alone(folder):
            known = roll_of(folder)
            if "drop" in asked:
                roll = drop(spec, known, str(asked["drop"]), term=lead.term, leader=host)
            else:
                devices = [Member(**m) for m in asked["devices"]]
                roll = admit(spec, known, str(asked["admit"]), devices, term=lead.term)
            write_json(folder / FILE, roll.to_table())
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {"error": str(error)}
    return {"roll": roll.to_table()}

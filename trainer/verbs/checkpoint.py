"""The verb `checkpoint`: rank 0 of a run is asked to write one at the end of its step."""

from __future__ import annotations

from typing import Any

from motley.trainer.contract.spec import Spec
from motley.trainer.contract.wire import END_STATES
from motley.trainer.host.checkpoint_request import ask
from motley.trainer.host.leader import lead_of
from motley.trainer.host.paths import run_folder
from motley.trainer.host.run_state import state_of
from motley.trainer.host.session_mark import is_session


def checkpoint(run: str, host: str, request: str) -> dict[str, Any]:
    """Answers `{"asked": request}`, or `{"error": …}` when there is nobody to ask. `host` is the one that leads.

    What comes of it is told in an event with `request` in its `asked`.
    """
    folder = run_folder(run, host)
    try:
        spec = Spec.from_json((folder / "spec.json").read_bytes())
        lead, state = lead_of(folder, spec), state_of(folder).get("state")
        if spec.script is not None and not is_session(folder):
            raise ValueError(
                f"'{run}' runs a script that has not called motley.session(): it writes its checkpoints itself"
            )
        if lead.leader != host:
            raise ValueError(f"{lead.leader} leads '{run}', not {host}")
        if state in END_STATES:
            raise ValueError(f"'{run}' is {state}: nothing is trained any more")
        ask(folder, request)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {"error": str(error)}
    return {"asked": request}

"""`python -m motley.trainer coordinate`: the process that a coordinator, of a task, a script or sessions, lives in."""

from __future__ import annotations

import asyncio
import socket

from motley.trainer.contract.spec import Spec
from motley.trainer.coordinator.task_coordinator import TaskCoordinator
from motley.trainer.host.open_files import raise_limit
from motley.trainer.host.paths import run_folder
from motley.trainer.host.session_mark import is_session


def serve(run: str, host: str, descriptor: int) -> int:
    """`python -m motley.trainer coordinate`: serve one run on the listening socket that the supervisor passed on."""
    folder = run_folder(run, host)
    spec = Spec.from_json((folder / "spec.json").read_bytes())
    raise_limit()  # of connections: one a rank, and callers that are nobody
    with socket.socket(fileno=descriptor) as listener:
        if spec.script is None:
            asyncio.run(TaskCoordinator(spec, folder).run(listener))
        elif is_session(folder):
            from motley.trainer.coordinator.session_coordinator import SessionCoordinator

            asyncio.run(SessionCoordinator(spec, folder).run(listener))
        else:
            from motley.trainer.coordinator.script_coordinator import ScriptCoordinator

            asyncio.run(ScriptCoordinator(spec, folder).run(listener))
    return 0

"""Whether the script of a run has called `motley.session()`: `session.json` in the run's folder on a host.

From then on its scripts regroup in their processes, as ranks of a task do (`trainer.coordinator.session_coordinator`).
A host that leads later, and a rank that is started again, know it by this file.

    >>> mark(folder, note); is_session(folder)
    True
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from motley.trainer.host.paths import write_json

FILE = "session.json"


def is_session(folder: Path) -> bool:
    """As far as is known on this host."""
    return os.path.exists(folder / FILE)


def mark(folder: Path, note: Callable[[str], object]) -> None:
    """Once. A disk that can't take it is told of with `note`: a session that calls says the same."""
    if is_session(folder):
        return
    try:
        write_json(folder / FILE, {"session": True})
    except OSError as error:
        note(f"{FILE} not written: {error}")

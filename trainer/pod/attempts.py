"""Earlier attempts of a run in this home: a pod that leads and was replaced goes on from what the one before it saved.

A volume outlives its pods. What lies in the run's folder there is of an attempt that has ended; it is put aside, as
`<run>.1`, `<run>.2`, …, and the newest of them with a checkpoint is where the next one begins.

    >>> put_aside(folder)
    PosixPath('/workspace/.motley/runs/night.1/gpu')
    >>> to_go_on_from(folder)
    ('/workspace/.motley/runs/night.1/gpu/checkpoints', 'night.1')
"""

from __future__ import annotations

import os
from pathlib import Path

from motley.trainer.host.paths import read_json

CHECKPOINTS = "checkpoints"


def is_finished(folder: Path) -> bool:
    """Whether the run has come to its end here: nothing is left to do."""
    return read_json(folder / "state.json").get("state") == "finished"


def put_aside(folder: Path) -> Path | None:
    """Where the attempt of this folder lies from now on; None where there was none. Raises OSError."""
    if not (folder / "spec.json").exists():
        return None
    number = 1
    while (place := _attempt(folder, number)).exists():
        number += 1
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.rename(folder, place)
    return place


def to_go_on_from(folder: Path) -> tuple[str, str]:
    """The folder with the checkpoints of the newest attempt that has any, and the attempt's name; empty without one."""
    number, found = 1, ("", "")
    while (place := _attempt(folder, number)).exists():
        if any((place / CHECKPOINTS).glob("*.pt")):
            found = (str(place / CHECKPOINTS), place.parent.name)
        number += 1
    return found


def _attempt(folder: Path, number: int) -> Path:
    return folder.parent.with_name(f"{folder.parent.name}.{number}") / folder.name

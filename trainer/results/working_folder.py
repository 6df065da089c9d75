"""The working folder of a script with results: its project, copied once a run, so that what it writes is this run's.

    >>> lay_out(run_folder, project_folder(script.tree), "")
    PosixPath('/home/ada/.motley/runs/night/box1/work')

A run that goes on from another one begins with the results of that one, each where it was: a script that looks for its
newest checkpoint in `out/` finds it. `MOTLEY_RESUME` names a folder of them that stays as it is.
"""

from __future__ import annotations

import os
from pathlib import Path

from motley.trainer.bootstrap import durable
from motley.trainer.host.file_lock import locked

WORK = "work"  # in the run's folder
LOCK, PART = ".work.lock", ".work.part"


def resumed_folder(resumed: str) -> str:
    """Absolute, of a place in the home folder; empty where there is none: a host that came later was given none."""
    place = os.path.expanduser(resumed)
    return place if resumed and os.path.isdir(place) else ""


def lay_out(folder: Path, project: Path, resumed: str) -> Path:
    """The working folder, made if it is not there yet; ranks of one host share it. Raises OSError."""
    import shutil  # it takes its time, and most scripts have no results

    place = folder / WORK
    with locked(folder / LOCK):
        if place.exists():
            return place
        part = folder / PART
        shutil.rmtree(part, ignore_errors=True)  # of a start that was broken off
        shutil.copytree(project, part, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        _writable(part)
        if before := resumed_folder(resumed):
            shutil.copytree(before, part, dirs_exist_ok=True)
        durable.put(os.fspath(part), os.fspath(place))
    return place


def _writable(folder: Path) -> None:
    """What was pushed may be there to be read only."""
    for place, _, names in os.walk(folder):
        os.chmod(place, 0o700)
        for name in names:
            path = os.path.join(place, name)
            if not os.path.islink(path):
                os.chmod(path, os.stat(path).st_mode | 0o200)

"""The working folder of a script with results: its project, copied once a run, so that what it writes is this run's.

    >>> lay_out(run_folder, project_folder(script.tree), "", tick=client.works)
    PosixPath('/home/ada/.motley/runs/night/box1/work')

A run that goes on from another one begins with the results of that one, each where it was and with the time that it
had: a script that looks for its newest checkpoint in `out/` finds it. `MOTLEY_RESUME` names a folder of them that stays
as it is.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from motley.trainer.bootstrap import durable
from motley.trainer.contract.result_patterns import TIMES
from motley.trainer.host.file_lock import locked

WORK = "work"  # in the run's folder
LOCK, PART = ".work.lock", ".work.part"
CHUNK = 2**24


def resumed_folder(resumed: str) -> str:
    """Absolute, of a place in the home folder; empty where there is none: a host that came later was given none."""
    place = os.path.expanduser(resumed)
    return place if resumed and os.path.isdir(place) else ""


def lay_out(folder: Path, project: Path, resumed: str, *, tick: Callable[[], object] = lambda: None) -> Path:
    """The working folder, made if it is not there yet; ranks of one host share it. Raises OSError.

    `tick` is called again and again while files are copied.
    """
    import shutil  # it takes its time, and most scripts have no results

    def copy(source: str, target: str) -> str:
        with open(source, "rb") as there, open(target, "wb") as here:
            while chunk := there.read(CHUNK):
                here.write(chunk)
                tick()
        shutil.copystat(source, target)
        os.chmod(target, os.stat(target).st_mode | 0o600)  # what was pushed may be there to be read only
        return target

    place = folder / WORK
    with locked(folder / LOCK):
        if place.exists():
            return place
        part = folder / PART
        shutil.rmtree(part, ignore_errors=True)  # of a start that was broken off
        ours = shutil.ignore_patterns("__pycache__")
        shutil.copytree(project, part, symlinks=True, ignore=ours, copy_function=copy)
        if before := resumed_folder(resumed):
            shutil.copytree(before, part, dirs_exist_ok=True, copy_function=copy)
            _set_times(part)
        for made, _, _ in os.walk(part):
            os.chmod(made, 0o700)
        durable.put(os.fspath(part), os.fspath(place))
    return place


def _set_times(part: Path) -> None:
    """Those of the originals, which were sent beside them."""
    listing = part / TIMES
    try:
        times = json.loads(listing.read_bytes())
    except FileNotFoundError:
        return
    except ValueError:
        times = {}
    for path, mtime_ns in times.items():
        with contextlib.suppress(OSError, OverflowError, TypeError, ValueError):
            os.utime(part / path, ns=(mtime_ns, mtime_ns), follow_symlinks=False)
    listing.unlink()

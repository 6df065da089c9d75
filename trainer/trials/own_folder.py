"""The folder of a trial's own on a host, where a copy of the user's script runs, or of a step that is computed again.

>>> with own_folder() as folder:
...     shutil.copytree(project, folder / "project")
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from motley.trainer.host import processes
from motley.trainer.host.paths import runs_folder

OLD_S = 86_400.0


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder that is gone afterwards; those of trials that were killed go now. Homes may be shared: of another
    machine's nobody knows whether it is in use, until it is old."""
    trials, boot = runs_folder().parent / "trials", processes.boot_id()
    trials.mkdir(parents=True, mode=0o700, exist_ok=True)
    for old in trials.iterdir():
        there, _, pid = old.name.rpartition("-")
        gone = pid.isdigit() and processes.start_ticks(int(pid)) is None
        if gone if there == boot else time.time() - old.stat().st_mtime > OLD_S:
            shutil.rmtree(old, ignore_errors=True)
    folder = trials / f"{boot}-{os.getpid()}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

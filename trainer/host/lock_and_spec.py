"""What a run needs on a host before it may begin there: its lock, which nobody else has, and its spec on the disk.

`trainer.supervisor.containers` takes its time to import, so `container_of` is asked first.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from motley.trainer.bootstrap import durable
from motley.trainer.contract.spec import Container, Spec
from motley.trainer.contract.spec import container_of as container_in
from motley.trainer.host.paths import read_json


class AtWork(OSError):
    """Another process has the lock."""


def take_lock(folder: Path) -> int:
    """The lock of the run on this host, held as long as the descriptor is open. Raises AtWork when another has it."""
    durable.make_folder(folder, 0o700)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise AtWork(f"a supervisor of this run is at work on this host already ({folder})") from error
    return lock


def keep_spec(folder: Path, spec: Spec) -> None:
    """Write `spec.json`, readable by the user only. Raises FileExistsError when the name was used before.

    Called with the lock of `take_lock`: nobody else writes it meanwhile. One that is empty or cut short is no run's:
    a power cut has come before anything was started.
    """
    path = folder / "spec.json"
    if read_json(path):
        raise FileExistsError(f"run '{spec.run}' is on this host already ({folder}): choose another name")
    (folder / "checkpoints").mkdir(exist_ok=True)  # the folder is synced with the spec
    durable.write(path, spec.to_json().encode())


def container_of(folder: Path) -> Container | None:
    """What the run in this folder has its ranks in, as far as its spec can be read; None for the host's own Python."""
    try:
        return container_in(read_json(folder / "spec.json"))
    except (AttributeError, KeyError, TypeError):
        return None

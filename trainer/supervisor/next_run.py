"""A run that follows another one in the processes that are there: the supervisor's part of `trainer.verbs.rerun`.

>>> begun = follow(folder, supervisor.kept)      # after the run in `folder` has ended
>>> begun.supervisor.run(...)
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from motley.trainer.host import process_title, processes
from motley.trainer.host.lock_and_spec import keep_spec, take_lock
from motley.trainer.host.paths import run_folder
from motley.trainer.supervisor.coordinator_socket import listen
from motley.trainer.supervisor.forkserver_client import ForkserverClient
from motley.trainer.supervisor.successor import Successor
from motley.trainer.supervisor.supervisor import Supervisor


class Begun(NamedTuple):
    """A run that is about to follow another one in its supervisor's process."""

    supervisor: Supervisor
    folder: Path
    lock: int


def follow(before: Path, forks: ForkserverClient) -> Begun:
    """Make ready for the run that was asked for, with the fork server of the one in the folder `before`.

    From here on nothing is left of that one: this process and the fork server bear the new run's tags. Raises OSError,
    ValueError, KeyError or TypeError when that can't be; then both have to end.
    """
    successor = Successor(before)
    spec, received = successor.asked()
    folder = run_folder(spec.run, spec.host)
    lock = take_lock(folder)
    listener = listen(spec.leader_address, spec.port) if spec.is_leader else None
    tags = processes.tags(spec.run, spec.host, folder)
    if not forks.rename(spec.run, tags) or not process_title.write({**os.environ, **tags}):
        raise OSError("the name of the new run is too long for the processes that are there")
    if left := processes.tagged(before):
        raise OSError(f"{len(left)} processes of the old run are left")
    keep_spec(folder, spec)
    successor.forget()
    supervisor = Supervisor(spec, folder, received=received, listener=listener, forks=forks)
    return Begun(supervisor=supervisor, folder=folder, lock=lock)


def give_up(before: Path, error: Exception) -> None:
    """The run that was asked for can't follow: whoever asked gets to know."""
    Successor(before).refuse(str(error))

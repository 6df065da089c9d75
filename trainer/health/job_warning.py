"""A job that ends soon: Slurm tells the job's script, that the keepers of its nodes, and these the supervisors (USR1).

The host that leads has rank 0 write a checkpoint. When the job is requeued, the run ends here then, to go on in the
next one (`trainer.requeue`).

    >>> warning = JobWarning(spec, folder, journal)
    >>> warning.heed()
    >>> warning.ends_run(leads=True)        # now and then
    False
"""

from __future__ import annotations

import os
import secrets
import signal
import time
from pathlib import Path

from motley.trainer.contract.spec import Spec
from motley.trainer.host.checkpoint_request import ask, asked
from motley.trainer.host.journal import Journal
from motley.trainer.host.paths import write_json
from motley.trainer.host.session_mark import is_session

REQUEUED = "MOTLEY_REQUEUE"  # in the environment of all that runs in a job which Slurm is to start again


class JobWarning:
    """Of one supervisor."""

    def __init__(self, spec: Spec, folder: Path, journal: Journal) -> None:
        self._spec, self._folder, self._journal = spec, folder, journal
        self._heard = False
        self._request = ""  # of the checkpoint, once it was asked for

    def heed(self) -> None:
        signal.signal(signal.SIGUSR1, self._on_signal)

    def ends_run(self, *, leads: bool) -> bool:
        """Ask for the checkpoint; true once it is written and the run is to end for the job's next start."""
        if not self._heard or not leads:
            return False
        try:
            if not self._request:
                self._ask()
                return False
            if self._request in asked(self._folder) or not os.environ.get(REQUEUED):
                return False
            why = "Slurm ends this job, and starts it again"
            write_json(self._folder / "stop.json", {"reason": why, "time": time.time()})
        except OSError as error:
            self._journal.write("note", f"the checkpoint before the job's end: {error}", "warning")
            self._heard = False
            return False
        return True

    def _ask(self) -> None:
        """A script that has not called `motley.session()` writes its checkpoints itself."""
        self._request = secrets.token_hex(8)
        saves = self._spec.script is None or is_session(self._folder)
        text = "the job ends soon: a checkpoint is written" if saves else "the job ends soon"
        self._journal.write("job_warning", text, "warning")
        if saves:
            ask(self._folder, self._request)

    def _on_signal(self, *_: object) -> None:
        self._heard = True

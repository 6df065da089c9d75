"""A profiler trace of some steps of one rank: `run.trace_steps`. Any viewer of Chrome traces opens it.

The loop calls it between steps. The first steps of a process build caches and kernels, and are left out.

    >>> tracer = Tracer(folder, journal, member=2, steps=10, device=device)
    >>> tracer.step_ended(step, last=False)     # after each step; `trace_rank_2.json.gz` appears after 13
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch
from torch.profiler import profile

from motley.trainer.devices import accelerator
from motley.trainer.host.journal import Journal

WARM_UP_STEPS = 3


class Tracer:
    """Traces once; afterwards it does nothing."""

    def __init__(self, folder: Path, journal: Journal, *, member: int, steps: int, device: torch.device) -> None:
        self._path = folder / f"trace_rank_{member}.json.gz"
        self._journal = journal
        self._member = member
        self._steps = steps
        self._ended = 0
        self._profile: profile | None = profile(activities=accelerator.profiled(device))

    def step_ended(self, step: int, *, last: bool) -> None:
        """A step of the run has ended, the `last` one or not: start or end the trace where it is time."""
        self._ended += 1
        if self._profile is None:
            return
        if last or self._ended == WARM_UP_STEPS + self._steps:
            if self._ended > WARM_UP_STEPS:
                self._write(self._profile, step)
            else:
                text = f"no trace of rank {self._member}: the run ended before step {WARM_UP_STEPS + 1} of this process"
                self._journal.write("note", text, "warning")
            self._profile = None
        elif self._ended == WARM_UP_STEPS:
            self._profile.start()

    def _write(self, recorded: profile, step: int) -> None:
        steps = self._ended - WARM_UP_STEPS
        part = self._path.with_name(f"part_{self._path.name}")  # the profiler compresses what ends in .gz
        try:
            recorded.stop()
            recorded.export_chrome_trace(str(part))
            content = part.read_bytes()
            os.replace(part, self._path)
        except OSError as error:
            self._journal.write("note", f"the trace was not written: {error}", "warning")
            return
        self._journal.write(
            "trace",
            f"trace of rank {self._member}, steps {step - steps + 1} to {step}: {self._path}",
            step=step, steps=steps, path=self._path.name, bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )  # fmt: skip

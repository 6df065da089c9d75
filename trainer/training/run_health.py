"""What rank 0 says and does when the loss is not sound, or weights are not finite: `trainer.health.loss_check` decides.

It is told at once, in an event with the last good checkpoint and the command that goes on from there at a lower rate.
With `run.on_nan = "stop"` a loss that is not finite ends the run, which has failed then; one that has blown up is
finite, and may come back: it is a warning.
"""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from motley.trainer.contract.spec import Spec
from motley.trainer.errors import Diverged
from motley.trainer.health.loss_check import LossCheck, Trouble
from motley.trainer.host.journal import Journal

if TYPE_CHECKING:
    from motley.trainer.training.job import LoopState

REMEMBERED = 64  # checkpoints
LOWER = 10  # times: the rate of the run that goes on


class RunHealth:
    """Of one rank, which may be rank 0: it knows the checkpoints that it has written itself."""

    def __init__(self, spec: Spec, folder: Path, journal: Journal) -> None:
        self._spec, self._folder, self._journal = spec, folder / "checkpoints", journal
        self._check = LossCheck()
        self._written: list[tuple[int, str]] = []  # steps and names, while the loss was sound

    @property
    def sound(self) -> bool:
        return self._check.trouble is None

    def began(self, step: int) -> None:
        """The run's first group: what it goes on from is a good checkpoint."""
        if self._spec.resumed_from:
            self._written.append((step, ""))

    def written(self, name: str, step: int) -> None:
        if self.sound:
            self._written = [*self._written[-REMEMBERED:], (step, name)]

    def spared(self) -> str:
        """The file that may not be removed while the loss is not sound; empty while it is."""
        trouble = self._check.trouble
        good = self._good(trouble) if trouble is not None else None
        return f"{good[1]}.pt" if good is not None else ""

    def step_ended(self, job: LoopState, loss: float) -> None:
        """`loss`: of this rank's samples. A step that the loss scaler skipped has changed no weight."""
        if job.step not in job.skipped_steps:
            self._see(job, self._check.step(job.step, loss, member=job.member))

    def window_ended(self, job: LoopState, first: int, losses: list[float], members: list[int | None]) -> None:
        """Global losses of steps from `first` on, and of each the member whose samples had one that is not finite."""
        heard = [
            one for one in zip(range(first, first + len(losses)), losses, members) if one[0] not in job.skipped_steps
        ]
        for step, loss, member in heard:
            if member is not None:
                self._see(job, self._check.step(step, loss, member=member))
        if all(member is None for _, _, member in heard):
            self._see(job, self._check.window(first, [loss for _, loss, _ in heard]))

    def weights_are_finite(self, job: LoopState) -> bool:
        """Before a checkpoint is written."""
        return all(bool(torch.isfinite(p).all()) for p in job.weights())

    def weights_are_not_finite(self, job: LoopState) -> None:
        self._see(job, self._check.weights(job.step))

    def _good(self, trouble: Trouble) -> tuple[int, str] | None:
        """The newest that is from before it and is still there."""
        there = [one for one in self._written if not one[1] or (self._folder / f"{one[1]}.pt").exists()]
        return max((one for one in there if one[0] < trouble.step), default=None)

    def _see(self, job: LoopState, trouble: Trouble | None) -> None:
        """Tell of it. Raises Diverged when the run is to end with it."""
        if trouble is None:
            return
        stops = trouble.why != "blown up" and job.options.on_nan == "stop" and not job.stop.asked
        good = self._good(trouble)
        resume = self._name_of(good) if good is not None else ""
        command = self._command(job, resume)
        from_there = (
            f"goes on from step {good[0]:,}" if good is not None else "starts anew, as no checkpoint is earlier,"
        )
        remedy = f"{command} {from_there} {self._lower(job)}"
        cause = trouble.told()
        self._journal.write(
            "diverged", f"{cause}. {remedy}", "warning" if trouble.why == "blown up" else "error",
            step=trouble.step, why=trouble.why, loss=trouble.loss if math.isfinite(trouble.loss) else None,
            member=trouble.member, cause=cause, remedy=remedy, resume=resume, command=command, stops=stops,
        )  # fmt: skip
        if stops:
            raise Diverged(cause, remedy)

    def _name_of(self, good: tuple[int, str]) -> str:
        step, name = good
        if name:
            return f"{self._spec.run}@{name}"
        origin = str(self._spec.resumed_from)
        return origin if "/" in origin or origin.endswith(".pt") else f"{origin}@step_{step}"

    def _command(self, job: LoopState, resume: str) -> str:
        words = ["motley", "run", *self._spec.words, *(["--resume", resume] if resume else [])]
        if job.our_rate is not None:
            words += ["--set", f"run.learning_rate={job.our_rate / LOWER:g}"]
        return shlex.join(words)

    def _lower(self, job: LoopState) -> str:
        ours = job.our_rate is not None
        return f"at a rate {LOWER} times lower" if ours else "once your optimizer's rate is lower"

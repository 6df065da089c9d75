"""What rank 0 says to the world: figures to the coordinator, events to the journal, checkpoints to the disk."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from motley.trainer.balance.measured_step import MeasuredStep
from motley.trainer.contract.spec import RunOptions, Spec
from motley.trainer.errors import CheckpointError, Diverged
from motley.trainer.health.checkpoint_schedule import CheckpointSchedule
from motley.trainer.health.gradient_fingerprint import Fingerprint
from motley.trainer.host.journal import Journal
from motley.trainer.training import checkpoint
from motley.trainer.training.run_health import RunHealth

if TYPE_CHECKING:
    from motley.trainer.tasks.evaluation import Evaluation
    from motley.trainer.training.job import Job, LoopState

FITS_OF_MOST = 64  # ranks: beyond, what rank 0 knows of speeds is too much to keep elsewhere


class Coordinator(Protocol):
    """Who hears the figures of a run: in a rank its `coordinator_client`, in a test a list."""

    def report(self, **figures: Any) -> None: ...

    def resumed(self, generation: int, pause_s: float) -> None: ...

    def checkpointed(self, requests: Sequence[str]) -> None: ...

    def works(self) -> None:
        """This rank is at work for long without a step: it writes a checkpoint."""


class Recorder:
    """Used by rank 0 alone, but for `ran_out_of_memory`.

    A full disk is said and does not stop the training.
    """

    def __init__(self, folder: Path, journal: Journal, line: Coordinator, spec: Spec | None = None) -> None:
        """`spec`: of a run whose loss and weights are looked at."""
        options = spec.options if spec is not None else RunOptions()
        self._health = RunHealth(spec, folder, journal) if spec is not None else None
        self._fingerprint_at = -1  # of the step after so many: those of the newest checkpoint
        self.schedule = CheckpointSchedule(steps=options.checkpoint_steps, minutes=options.checkpoint_minutes)
        self._folder = folder
        self._journal = journal
        self._line = line
        self._joined = time.monotonic()
        self._state_line = 0  # of the last group: see `trainer.contract.checkpoint_trailer`
        self._first_step_s: float | None = None
        self._began_at = 0  # the step that the run went on from
        self._noted = set[str]()
        self._of_steps: tuple[str, ...] = ()  # checkpoints that a schedule had written, of which some are kept

    def joining(self, line: int) -> None:
        """The group is about to be formed: from here on, the state is of this line (`contract.checkpoint_trailer`)."""
        self._joined, self._state_line = time.monotonic(), line

    def began(self, job: LoopState) -> None:
        """What is about to be trained, by the run's first group. On all ranks: each may be rank 0 later."""
        self._began_at = self._fingerprint_at = job.step
        if job.rank:
            return
        if self._health is not None:
            self._health.began(job.step)
        self._journal.write(
            "report",
            f"{job.title}: {job.batches.count} samples, {job.batches.steps_per_epoch} steps an epoch, "
            f"{job.steps_total} steps in all",
            step=job.step, steps_total=job.steps_total, steps_per_epoch=job.batches.steps_per_epoch, shares=job.shares,
        )  # fmt: skip

    def report(self, job: LoopState, rows: list[list[MeasuredStep]], *, step: int) -> None:
        """One window of steps, rows by rank; `step` is the last of them."""
        steps, batches, units = [], [], list[Any]()
        by_step = list(zip(*rows))
        apart_ms = sum(row.step_ms for row in rows[0]) / len(by_step)  # an average of all ranks ends the window
        for number, ranks in enumerate(by_step, step - len(by_step) + 1):
            samples = sum(r.batch for r in ranks)
            step_ms = max(r.step_ms for r in ranks) if job.apart is None else apart_ms
            steps.append([number, samples, step_ms, sum(r.loss_sum for r in ranks) / samples])
            batches.append(by_member(job, [r.batch for r in ranks]))
            known = all(math.isfinite(r.units) for r in ranks)
            units.append(by_member(job, [int(r.units) for r in ranks]) if known else None)
        figures: dict[str, Any] = {
            "steps": steps, "batches": batches, "rebalances": job.balancer.changes, "epoch": epochs_done(job),
            **self._before(job, step - len(by_step)),
        }  # fmt: skip
        if self._first_step_s is None:
            # The first window is reported after its end: take the steps after the first off again.
            after_s = (sum(s[2] for s in steps[1:]) + sum(row.step_ms for row in job.window.rows)) / 1000
            figures["first_step_s"] = self._first_step_s = max(0.0, time.monotonic() - self._joined - after_s)
        if job.unit:
            figures |= {"unit": job.unit, "units": units}
        if job.balancer.gain is not None:
            figures |= {"gain": job.balancer.gain, "saved_s": job.balancer.saved_s}
        if job.world_size <= FITS_OF_MOST:
            figures["fits"] = job.balancer.fits()
        self._tell(**figures)
        if self._health is None:
            return
        odd = [
            next((job.members[n] for n, row in enumerate(ranks) if not math.isfinite(row.loss_sum)), None)
            for ranks in by_step
        ]
        with self._failing():
            self._health.window_ended(job, step - len(by_step) + 1, [told[3] for told in steps], odd)

    def step_ended(self, job: LoopState, loss: float) -> None:
        """The mean loss of this rank's samples of the step. Raises Diverged when the run is to end with it."""
        if self._health is not None:
            with self._failing():
                self._health.step_ended(job, loss)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """What ends the run is in its summary."""
        try:
            yield
        except Diverged as error:
            self._tell(steps=[], batches=[], cause=error.cause)
            raise

    def gradient(self, job: LoopState, scale: Callable[[], float] = lambda: 1.0) -> float | None:
        """The averaged gradient of a step, not clipped yet: of the step after a checkpoint a fingerprint is recorded.
        `scale`: how many times too large it still is; asked for such a step alone.

        Returns the seconds that took.
        """
        if job.step != self._fingerprint_at:
            return None
        began, self._fingerprint_at = time.perf_counter(), -1
        found = Fingerprint.of(job.weights(), seed=job.options.seed, scale=scale())
        if found.finite:
            self._journal.write(
                "fingerprint", f"fingerprint of the gradient of step {job.step + 1}", step=job.step + 1,
                tensors=found.tensors, norms=found.norms, projections=found.projections, seed=job.options.seed,
            )  # fmt: skip
        return time.perf_counter() - began

    def resumed(self, job: LoopState, pause_s: float) -> None:
        """The first step after a regroup has ended. Of every rank that was there before."""
        self._line.resumed(job.generation, pause_s)

    def report_alone(self, job: LoopState, rows: Sequence[MeasuredStep]) -> None:
        """The steps since the last exchange, when the others are not asked any more: without their losses."""
        first = job.step - len(rows)
        sizes = [job.batches.place(first + i).size for i in range(len(rows))]
        steps = [[first + i + 1, size, row.step_ms, None] for i, (size, row) in enumerate(zip(sizes, rows))]
        batches = [by_member(job, job.batches.sizes(first + i, job.shares)) for i in range(len(rows))]
        self._tell(steps=steps, batches=batches, epoch=epochs_done(job), **self._before(job, first))

    def evaluated(self, job: Job, epoch: int, found: Evaluation, seconds: float) -> None:
        """`epoch`: how many are done; 0: of the model as it came."""
        self._joined += seconds  # no part of the first step's time
        before = {} if epoch else {"eval_on_start": found.figures()}
        self._tell(steps=[], batches=[], epoch=epoch, eval=found.figures(), **before)
        self._journal.write(
            "evaluated",
            f"{_when(epoch)}: {found.told()}",
            step=job.step, epoch=epoch, accuracy=found.accuracy, loss=found.loss, metrics=found.metrics,
            figures=found.follows, seconds=seconds,
        )  # fmt: skip

    def answered(self, job: Job, epoch: int, answers: Sequence[tuple[str, str]], seconds: float) -> None:
        """What the model said after an evaluation: prompts and answers, in bounds."""
        self._joined += seconds
        self._journal.write(
            "answers",
            f"{_when(epoch)}: the model has answered {len(answers)} prompt{'s' * (len(answers) != 1)}",
            step=job.step, epoch=epoch, seconds=seconds,
            answers=[{"prompt": prompt, "answer": answer} for prompt, answer in answers],
        )  # fmt: skip

    def note_once(self, job: Job, what: str) -> None:
        """A fault in what is told beside the training: the run goes on, and it is not said again."""
        if what not in self._noted:
            self._noted.add(what)
            self._journal.write("note", what, "warning", step=job.step)

    def stopped_early(self, job: Job, epoch: int) -> None:
        """The run is finished before its last step: `run.early_stop`."""
        since = f"since epoch {job.best_epoch}" if job.best_epoch else "from the beginning on"
        reason = f"early stop after epoch {epoch}: no better score {since}"
        self._tell(steps=[], batches=[], epoch=epoch, reason=reason)
        self._journal.write("early_stop", reason, step=job.step, epoch=epoch, best_epoch=job.best_epoch, best=job.best)

    def checkpoint(self, job: LoopState, name: str, *, why: str = "", asked: Sequence[str] = ()) -> bool:
        """Write `checkpoints/<name>.pt` and drop old ones; a full disk is said, training goes on. Returns whether it is
        there.

        `why`: of a checkpoint within an epoch, steps, minutes or asked; `asked`: the requests that this answers.
        """
        keep = job.options.keep_checkpoints
        about: dict[str, Any] = {"step": job.step, **({"asked": list(asked)} if asked else {})}
        health = self._health
        if name == "best" and health is not None and not health.sound:
            return False
        if health is not None and not health.weights_are_finite(job):
            self._journal.write(
                "note", f"checkpoint {name}.pt not written: the weights are not finite", "warning", **about
            )
            if asked:
                self._line.checkpointed(asked)
            job.schedule.written(job.step)
            with self._failing():
                health.weights_are_not_finite(job)
            return False
        saved = self.save(name, job.step, job.content(), keep=keep, why=why, asked=asked)
        job.schedule.written(job.step)
        self._fingerprint_at = job.step
        if asked:
            self._line.checkpointed(asked)
        return saved

    def save(
        self,
        name: str,
        step: int,
        state: Mapping[str, Any],
        *,
        keep: int,
        why: str = "",
        asked: Sequence[str] = (),
    ) -> bool:
        """As `checkpoint`, of a state that belongs to no group.

        Ranks that hold write `held`, perhaps several of one host: the latest step stays.
        """
        began = time.monotonic()
        folder = self._folder / "checkpoints"
        about: dict[str, Any] = {**({"why": why} if why else {}), **({"asked": list(asked)} if asked else {})}
        try:
            save = checkpoint.save_unless_later if name == "held" else checkpoint.save
            saved = save(folder / f"{name}.pt", state, line=self._state_line, alive=self._line.works)
        except CheckpointError as error:
            self._journal.write("note", str(error), "warning", step=step, **about)
            return False
        if saved is None:
            return False
        if self._health is not None and name != "held":
            self._health.written(name, step)
        if why in ("steps", "minutes"):
            self._of_steps += (f"{name}.pt",)
        seconds = time.monotonic() - began
        self._journal.write(
            "checkpoint",
            f"checkpoint {name}.pt at step {step}",
            step=step, path=f"checkpoints/{name}.pt", bytes=saved.bytes, sha256=saved.sha256, seconds=seconds, **about,
        )  # fmt: skip
        self._prune(folder, keep, step)
        return True

    def _prune(self, folder: Path, keep: int, step: int) -> None:
        """Remove old ones. What can't be removed now is tried again after the next one."""
        spare = self._health.spared() if self._health is not None else ""
        try:
            checkpoint.prune(folder, keep, self._of_steps[:-keep], spare=spare)
        except CheckpointError as error:
            self._journal.write("note", str(error), "warning", step=step)
        else:
            self._of_steps = self._of_steps[-keep:]

    def ran_out_of_memory(self, job: LoopState, before: int, after: int) -> None:
        """This rank's device was too small for `before` samples at once; the step was computed again."""
        size = f"{before:,} in samples times length" if job.batches.by_length else f"{before} samples"
        self._journal.write(
            "memory",
            f"rank {job.member}: {job.device} ran out of memory at {size} in one pass; step {job.step + 1} "
            f"was computed again with {after:,} at most, as are those that follow. Its share of the batch stays",
            "warning",
            step=job.step + 1, member=job.member, before=before, after=after,
        )  # fmt: skip

    def _before(self, job: LoopState, step: int) -> dict[str, Any]:
        """What was done before the steps that are told of: whoever hears it may not know."""
        began = {"began": [self._began_at, samples_before(job, self._began_at)]} if self._began_at else {}
        return {"before": samples_before(job, step), **began}

    def _tell(self, **figures: Any) -> None:
        self._line.report(**figures)


def _when(epochs_done: int) -> str:
    return f"epoch {epochs_done}" if epochs_done else "before the first step"


def samples_before(job: LoopState, step: int) -> int:
    """How many samples all steps before this one had."""
    place = job.batches.place(step)
    return place.epoch * job.batches.count + place.start


def by_member(job: LoopState, figures: Sequence[int]) -> list[int]:
    """Figures in rank order, put in the places of the members' numbers; 0 for those that are not in the group."""
    placed = [0] * (max(job.members) + 1)
    for member, figure in zip(job.members, figures):
        placed[member] = figure
    return placed


def epochs_done(job: LoopState) -> int:
    """Whole passes over the data; a run that ends within one has done that one too, as far as it was asked to."""
    return (
        -(-job.step // job.batches.steps_per_epoch)
        if job.step == job.steps_total
        else (job.step // job.batches.steps_per_epoch)
    )

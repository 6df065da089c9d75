"""What a run has written of the step after a checkpoint: its loss, its gradient's fingerprint, its parts. Pure, but for
`whole_checkpoint`, which reads files.

>>> record = StepRecords.of(past.records())
>>> record.steps()                  # those that have a fingerprint
(1, 7, 13)
>>> record.at(7).loss
0.2313
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from motley.console.report.kept_steps import KeptStep, KeptSteps
from motley.console.report.step_lines import StepLine
from motley.console.state.event_data import number, one_line
from motley.remote.errors import UsageError
from motley.remote.experiment.records import grouped
from motley.trainer.contract.checkpoint_trailer import is_name
from motley.trainer.contract.wire import Event, Reading, Sample, Usage

NEAREST = 6  # steps that are named where another one was asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedGradient:
    """As `trainer.health.gradient_fingerprint` has it; of the mean gradient, before it is clipped."""

    tensors: int
    norms: tuple[float, ...]
    projections: tuple[float, ...]
    seed: int

    @property
    def norm(self) -> float:
        """Of the whole gradient: each of `norms` is of some of its tensors."""
        return math.sqrt(sum(value * value for value in self.norms))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCheckpoint:
    step: int
    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedStep:
    """`parts`: (member, share) in rank order; `loss` the mean over the step as its ranks told it."""

    step: int
    loss: float | None
    gradient: RecordedGradient
    parts: tuple[tuple[int, int], ...]
    precision: str = "fp32"
    devices: tuple[str, ...] = ()
    steps_per_epoch: int | None = None
    resumed: bool = False  # it is the first step of a run that goes on from another one


@dataclass(slots=True)
class StepRecords:
    gradients: dict[int, RecordedGradient] = field(default_factory=dict)  # by step, as it was last made
    checkpoints: list[RecordedCheckpoint] = field(default_factory=list)
    shares: dict[tuple[int, int], int] = field(default_factory=dict)  # by step and member, where they are not samples
    ranks: dict[tuple[int, int], int] = field(default_factory=dict)  # by generation and member
    devices: dict[int, str] = field(default_factory=dict)  # by member
    precisions: list[tuple[int, str]] = field(default_factory=list)  # from which step on
    kept: dict[int, KeptStep] = field(default_factory=dict)
    steps_per_epoch: int | None = None
    began_at: int | None = None

    @classmethod
    def of(cls, records: Iterable[Sample | StepLine | Reading | Usage | Event]) -> StepRecords:
        found, steps = cls(), KeptSteps()
        for record in records:
            if isinstance(record, (StepLine, Sample)):
                steps.add([record])
                found.ranks[record.generation, record.member] = record.rank
                if record.share is not None:
                    found.shares[record.step, record.member] = record.share
            elif isinstance(record, Event):
                found._hear(record, steps)
        found.kept = {step.step: step for step in steps.settle(None)[0]}
        return found

    def steps(self) -> tuple[int, ...]:
        """Those of which the gradient was recorded, and the loss is known."""
        return tuple(sorted(step for step in self.gradients if step in self.kept))

    def at(self, step: int) -> RecordedStep:
        """Raises UsageError for a step that was not recorded, with the nearest ones that were."""
        if step not in self.gradients or step not in self.kept:
            raise UsageError(self._none(step))
        made = self.kept[step]
        members = sorted(made.parts, key=lambda member: self.ranks.get((made.generation, member), member))
        parts = tuple((member, self.shares.get((step, member), made.parts[member][1])) for member in members)
        return RecordedStep(
            step=step,
            loss=made.loss,
            gradient=self.gradients[step],
            parts=parts,
            precision=next((name for since, name in reversed(self.precisions) if since < step), "fp32"),
            devices=tuple(self.devices.get(member, "") for member in members),
            steps_per_epoch=self.steps_per_epoch,
            resumed=bool(self.began_at) and step == (self.began_at or 0) + 1,
        )

    def _none(self, step: int) -> str:
        there = self.steps()
        if not there:
            return (
                "no gradient of this run is recorded here: runs of older versions, scripts without a session, and "
                "those with local_steps above 1 have none"
            )
        nearest = sorted(sorted(there, key=lambda other: abs(other - step))[:NEAREST])
        return (
            f"of step {step} no gradient was recorded: it is of the step after each checkpoint. "
            f"The nearest: {', '.join(map(str, nearest))}"
        )

    def _hear(self, event: Event, steps: KeptSteps) -> None:
        data, step = event.data, int(number(event.data.get("step")) or 0)
        if event.kind == "fingerprint":
            norms, projections = _figures(data.get("norms")), _figures(data.get("projections"))
            if norms and projections:
                self.gradients[step] = RecordedGradient(
                    tensors=int(number(data.get("tensors")) or 0), norms=norms, projections=projections,
                    seed=int(number(data.get("seed")) or 0),
                )  # fmt: skip
        elif event.kind == "checkpoint":
            name = one_line(data.get("path")).removeprefix("checkpoints/")
            if name.endswith(".pt") and is_name(name[:-3]):
                one = RecordedCheckpoint(step=step, name=name, sha256=one_line(data.get("sha256")))
                self.checkpoints.append(one)
        elif event.kind == "precision":
            self.precisions.append((step, one_line(data.get("precision")) or "fp32"))
        elif event.kind == "report":
            self.steps_per_epoch = int(number(data.get("steps_per_epoch")) or 0) or self.steps_per_epoch
            self.began_at = step if self.began_at is None else self.began_at
        elif event.kind == "group":
            rows = [(number(row.get("member")), one_line(row.get("device", ""))) for row in grouped(event)]
            members = {int(member): device for member, device in rows if member is not None}
            self.devices.update(members)
            generation = number(data.get("generation"))
            if members and generation is not None:
                steps.expect(int(generation), members)


def checkpoints_before(records: StepRecords, step: int) -> tuple[RecordedCheckpoint, ...]:
    """Those with the weights before `step` that no later one was written over, the newest first; none before the first
    step, whose weights are those that the seed gives. Raises UsageError where the run has written none."""
    newest = {one.name: one for one in records.checkpoints}
    found = tuple(one for one in reversed(newest.values()) if one.step == step - 1)
    if not found and step > 1:
        steps = sorted({1, *(one.step + 1 for one in newest.values())} & set(records.steps()))
        raise UsageError(
            f"the run has no checkpoint any more of the weights before step {step}: it wrote none, or another over it. "
            f"Steps that may be verified: {', '.join(map(str, steps)) or 'none'}"
        )
    return found


def whole_checkpoint(folder: Path, records: StepRecords, step: int) -> tuple[Path, str] | None:
    """The file with the weights before `step`, as it was written, and its SHA-256; None before the first step, whose
    weights are those that the seed gives. Raises UsageError where none is here, or what is here was changed."""
    if step == 1:
        return None
    wanted = [one for one in records.checkpoints if one.step == step - 1]
    newest = {one.name: one for one in records.checkpoints}
    changed = []
    for one in wanted:
        path = folder / "checkpoints" / one.name
        if path.is_symlink() or not path.is_file():
            continue
        if _sha256(path) == one.sha256:
            return path, one.sha256
        if newest[one.name].step == one.step:  # else it was written again later
            changed.append(one.name)
    if changed:
        raise UsageError(
            f"{changed[0]} is not the checkpoint that the run wrote: its SHA-256 is another one. Nothing can be "
            f"verified from it; `motley attach {folder.name}` fetches it again once it is moved away"
        )
    here = {one.step + 1 for one in newest.values() if (folder / "checkpoints" / one.name).is_file()}
    others = sorted({1, *here} & set(records.steps()))
    names = ", ".join(dict.fromkeys(one.name for one in wanted)) or "none was written by this run"
    raise UsageError(
        f"the checkpoint before step {step} is not here ({names}): one that has it computes the step with --on HOST; "
        f"older ones are removed, run.keep_checkpoints keeps more. "
        f"Steps that may be verified here: {', '.join(map(str, others)) or 'none'}"
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _figures(value: object) -> tuple[float, ...]:
    found = [number(one) for one in value] if isinstance(value, list) else []
    return tuple(one for one in found if one is not None) if None not in found else ()

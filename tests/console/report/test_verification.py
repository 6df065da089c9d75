"""What is compared of a step that was computed again, and which steps may be."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from motley.console.report.recorded_step import RecordedGradient, RecordedStep, StepRecords, whole_checkpoint
from motley.console.report.verification import EXACT, GPU, HALF, SINGLE, Verification, compared, lines_of, tolerance
from motley.remote.errors import UsageError
from motley.trainer.contract.wire import Event
from tests.console.report.experiments import event, group, step

NORMS, PROJECTIONS = [3.0, 4.0], [1.0] * 16
RECORDED = RecordedStep(
    step=7,
    loss=2.0,
    gradient=RecordedGradient(tensors=2, norms=(3.0, 4.0), projections=(1.0,) * 16, seed=0),
    parts=((0, 32), (1, 32)),
    devices=("cpu", "cpu"),
    steps_per_epoch=6,
)


def verified(**changed: Any) -> Verification:
    here = {"loss": 2.0, "tensors": 2, "norms": NORMS, "projections": PROJECTIONS, "steps_per_epoch": 6, **changed}
    return compared("night", "epoch_1.pt", RECORDED, {**here, "samples": 64}, limit=1e-4, limit_of="float32 on CPUs")


def test_what_is_the_same_agrees() -> None:
    found = verified()
    assert found.agrees
    assert (found.loss_off, found.gradient_off, found.norms_off, found.gradient_norm) == (0.0, 0.0, 0.0, 5.0)
    assert lines_of(found)[-1] == "step 7 of 'night' is what one machine computes"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"loss": 2.01}, "the loss is off by 0.005"),
        ({"loss": None}, "the loss is not finite here"),
        ({"projections": [1.01] * 16}, "the gradient is off by 0.002"),
        ({"norms": [3.0, 4.01]}, "the norm of each tensor is off by 0.002"),
        ({"norms": [3.0, None]}, "the gradient is not finite here"),
        ({"tensors": 3, "norms": [1.0] * 3}, "the model has 3 tensors here, and had 2"),
        ({"steps_per_epoch": 9}, "the data is of 9 steps an epoch here, and was of 6"),
    ],
)
def test_what_differs_is_named(changed: dict[str, Any], said: str) -> None:
    found = verified(**changed)
    assert found.wrong[0].startswith(said) or said in found.wrong
    assert "is NOT what is computed here" in lines_of(found)[-1]


def test_the_tolerance_is_of_what_was_computed_in() -> None:
    assert tolerance(RECORDED, dtype="float32", compress="none")[0] == SINGLE
    assert tolerance(RECORDED, dtype="float64", compress="none")[0] == EXACT
    assert tolerance(RECORDED, dtype="float32", compress="fp16")[0] == HALF
    assert tolerance(replace(RECORDED, devices=("cpu", "cuda:0")), dtype="float32", compress="none")[0] == GPU
    assert tolerance(replace(RECORDED, precision="bf16"), dtype="float32", compress="none")[0] == HALF


def checkpoint(at: int, name: str, sha256: str = "") -> Event:
    return event("checkpoint", "", float(at), step=at, path=f"checkpoints/{name}", sha256=sha256)


def gradient(at: int, at_s: float = 1.0) -> Event:
    return event("fingerprint", "", at_s, step=at, tensors=2, norms=NORMS, projections=PROJECTIONS, seed=3)


def records(*events: Event) -> StepRecords:
    return StepRecords.of([group(), *events, *(sample for number in range(1, 15) for sample in step(number, (40, 24)))])


def test_a_step_has_its_parts_its_loss_and_its_gradient() -> None:
    found = records(event("report", steps_per_epoch=6, step=0), gradient(7)).at(7)
    assert (found.loss, found.parts, found.gradient.seed, found.steps_per_epoch) == (1.0, ((0, 40), (1, 24)), 3, 6)
    assert found.precision == "fp32"
    assert records(event("precision", step=6, precision="bf16"), gradient(7)).at(7).precision == "bf16"


def test_a_step_without_a_gradient_is_refused() -> None:
    with pytest.raises(UsageError, match=r"of step 9 no gradient was recorded.*The nearest: 1, 7, 13"):
        records(gradient(1), gradient(7), gradient(13), gradient(99)).at(9)
    with pytest.raises(UsageError, match="no gradient of this run is recorded here"):
        records().at(9)


def test_the_checkpoint_is_the_one_that_was_written_then(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/best.pt").write_bytes(b"later")
    (tmp_path / "checkpoints/epoch_1.pt").write_bytes(b"then")
    then, later = (hashlib.sha256(content).hexdigest() for content in (b"then", b"later"))
    written = [checkpoint(6, "best.pt", then), checkpoint(6, "epoch_1.pt", then), checkpoint(12, "best.pt", later)]
    found = records(gradient(1), gradient(7), gradient(13), *written)
    assert whole_checkpoint(tmp_path, found, 1) is None
    assert whole_checkpoint(tmp_path, found, 7) == (tmp_path / "checkpoints/epoch_1.pt", then)
    assert whole_checkpoint(tmp_path, found, 13) == (tmp_path / "checkpoints/best.pt", later)
    (tmp_path / "checkpoints/epoch_1.pt").unlink()
    with pytest.raises(UsageError, match=r"is not here \(best.pt, epoch_1.pt\).* may be verified here: 1, 13"):
        whole_checkpoint(tmp_path, found, 7)
    (tmp_path / "checkpoints/best.pt").write_bytes(b"forged")
    with pytest.raises(UsageError, match=r"best.pt is not the checkpoint that the run wrote"):
        whole_checkpoint(tmp_path, found, 13)


def test_a_checkpoint_is_looked_for_in_its_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "secret.pt").write_bytes(b"x")
    (tmp_path / "checkpoints/link.pt").symlink_to(tmp_path / "secret.pt")
    sha = hashlib.sha256(b"x").hexdigest()
    for name in ("../secret.pt", "link.pt", "/etc/secret.pt"):
        with pytest.raises(UsageError, match="is not here"):
            whole_checkpoint(tmp_path, records(gradient(7), checkpoint(6, name, sha)), 7)

"""Whether a step that was computed again is the one that a run has written. Pure.

How far two gradients g and h lie apart is told by their projections on the same random signs: the mean of the squared
differences of p_i(g) and p_i(h) is an unbiased estimate of |g - h|^2 (Achlioptas 2003), so

    gradient_off = sqrt(mean_i (p_i(g) - p_i(h))^2) / |g|        norms_off = | |g_t| - |h_t| | over tensors t / |g|

Both, and the loss, have to be within a tolerance that is stated: rounding differs with the order in which samples are
added up, never what is learned.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from motley.console.report.recorded_step import RecordedStep
from motley.console.state.event_data import number

LEAST_LOSS = 0.1  # a loss below is compared as if it were so large: rounding is that of logits, not of it
EXACT, SINGLE, GPU, HALF = 1e-9, 1e-4, 5e-3, 5e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """`*_off`: relative, 0.001 is a thousandth; None: not to be compared. `wrong` says what does not agree."""

    run: str
    step: int
    checkpoint: str
    samples: int
    split: bool  # its ranks' parts were computed as they were, since the split matters to such a model
    tolerance: float
    tolerance_of: str
    loss: float | None
    loss_here: float | None
    loss_off: float | None
    gradient_norm: float
    gradient_off: float | None
    norms_off: float | None
    torch: str
    host: str = ""  # that computed it; empty: this machine
    wrong: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        return not self.wrong


def tolerance(recorded: RecordedStep, *, dtype: str, compress: str) -> tuple[float, str]:
    """The relative error that rounding may make, and what it is for."""
    if recorded.precision != "fp32" or compress != "none":
        return HALF, "forward passes or gradients in 16 bits"
    if any(device and not device.startswith("cpu") for device in recorded.devices):
        return GPU, "GPUs, whose float32 may be TF32"
    return (EXACT, "float64 on CPUs") if dtype == "float64" else (SINGLE, "float32 on CPUs")


def compared(
    run: str,
    checkpoint: str,
    recorded: RecordedStep,
    here: Mapping[str, Any],
    *,
    limit: float,
    limit_of: str,
    host: str = "",
) -> Verification:
    """`here`: what `trainer.verify.recomputed_step` has answered, on `host` where one is named."""
    then, wrong = recorded.gradient, []
    norms = [number(value) for value in here.get("norms", ())]
    projections = [number(value) for value in here.get("projections", ())]
    loss_here = number(here.get("loss"))
    loss_off = gradient_off = norms_off = None
    size = max(then.norm, 1e-12)
    if (here.get("tensors"), len(norms), len(projections)) != (then.tensors, len(then.norms), len(then.projections)):
        wrong.append(f"the model has {here.get('tensors')} tensors here, and had {then.tensors}")
    elif None in norms or None in projections:
        wrong.append("the gradient is not finite here")
    else:
        gradient_off = _root_mean(projections, then.projections) / size
        norms_off = math.sqrt(len(norms)) * _root_mean(norms, then.norms) / size
    if recorded.steps_per_epoch and here.get("steps_per_epoch") != recorded.steps_per_epoch:
        wrong.append(
            f"the data is of {here.get('steps_per_epoch')} steps an epoch here, and was of {recorded.steps_per_epoch}"
        )
    if recorded.loss is not None and loss_here is not None:
        loss_off = abs(loss_here - recorded.loss) / max(abs(recorded.loss), LEAST_LOSS)
    elif recorded.loss is not None:
        wrong.append("the loss is not finite here")
    told = (("the loss", loss_off), ("the gradient", gradient_off), ("the norm of each tensor", norms_off))
    wrong += [f"{name} is off by {off:.2g}" for name, off in told if off is not None and not off <= limit]
    return Verification(
        run=run, step=recorded.step, checkpoint=checkpoint, samples=int(number(here.get("samples")) or 0),
        split=bool(here.get("split")), tolerance=limit, tolerance_of=limit_of, loss=recorded.loss,
        loss_here=loss_here, loss_off=loss_off, gradient_norm=then.norm, gradient_off=gradient_off,
        norms_off=norms_off, torch=str(here.get("torch", ""))[:40], host=host, wrong=tuple(wrong),
    )  # fmt: skip


def lines_of(found: Verification) -> list[str]:
    """For the terminal: what was compared, and what it says."""

    def off(value: float | None) -> str:
        return "not compared" if value is None else f"off by {value:.2g}"

    how = (
        "each rank's part as it had it, since the model has BatchNorm or dropout"
        if found.split
        else "as one batch, whatever its ranks had of it"
    )
    verdict = (
        f"step {found.step} of '{found.run}' is what one machine computes"
        if found.agrees
        else f"step {found.step} of '{found.run}' is NOT what is computed here: {'; '.join(found.wrong)}"
    )
    return [
        f"from {found.checkpoint}, {found.samples} samples in the run's order, {how}, by torch {found.torch}"
        + (f" on {found.host}" if found.host else ""),
        f"loss      {_shown(found.loss)} then, {_shown(found.loss_here)} here: {off(found.loss_off)}",
        f"gradient  of norm {found.gradient_norm:.6g}: {off(found.gradient_off)}; by tensors {off(found.norms_off)}",
        f"tolerance {found.tolerance:g} ({found.tolerance_of})",
        verdict,
    ]


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6g}"


def _root_mean(here: list[float | None], then: tuple[float, ...]) -> float:
    squares = [((a or 0.0) - b) ** 2 for a, b in zip(here, then)]
    return math.sqrt(sum(squares) / max(1, len(squares)))

"""Which steps count as skipped by the loss scale, and so say nothing of the loss's health."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import nn

from motley.trainer.host.rank_progress import Unheard
from motley.trainer.optimize.loss_scaler import LEAST, LossScaler
from motley.trainer.training.loop import update


def test_a_step_is_the_scale_s_fault_until_there_is_no_smaller_scale() -> None:
    model, scaler = nn.Linear(2, 1), LossScaler()
    job = cast(Any, SimpleNamespace(
        model=model, scaler=scaler, precision=SimpleNamespace(scales=True), aside_s=0.0, skipped_steps=set(), step=0,
        in_step=True, progress=Unheard(),
    ))  # fmt: skip
    scales: list[float] = []
    while not scales or scales[-1] > LEAST:
        scales.append(scaler.scale)
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, math.nan)
        update(job)
    assert len(scales) > 3
    assert job.step == len(scales)
    assert job.skipped_steps == set(range(1, len(scales)))  # not the last, at the least scale

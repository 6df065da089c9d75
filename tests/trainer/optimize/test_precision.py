"""What a group computes in, and the loss scale: the choices alone."""

from __future__ import annotations

import pytest
import torch

from motley.trainer.optimize.loss_scaler import LossScaler
from motley.trainer.optimize.precision import MISSING, NATIVE, SLOW, abilities, choose

NEW, OLD, CPU = (NATIVE, NATIVE), (SLOW, NATIVE), (SLOW, SLOW)  # GPUs of today and before 2020; a CPU without either
ODD = (MISSING, SLOW)


@pytest.mark.parametrize(
    ("asked", "ranks", "taken", "why"),
    [
        ("auto", [NEW, NEW], "bf16", "every rank computes in it"),
        ("auto", [NEW, OLD], "fp16", "rank 1 has no bf16 of its own"),
        ("auto", [NEW, CPU], "fp32", "rank 1 has no bf16 of its own; rank 1 has no fp16 of its own"),
        ("bf16", [NEW, CPU, OLD], "bf16", "every rank computes in it"),
        ("bf16", [ODD, NEW, ODD], "fp16", "ranks 0, 2 can't compute in bf16"),
        ("bf16", [(MISSING, MISSING)], "fp32", "rank 0 can't compute in bf16; rank 0 can't compute in fp16"),
        ("fp16", [NEW, OLD], "fp16", "every rank computes in it"),
        ("fp16", [NEW, (SLOW, MISSING)], "bf16", "rank 1 can't compute in fp16"),
        ("fp32", [NEW], "fp32", ""),
    ],
)
def test_the_format_that_every_rank_has_is_taken(
    asked: str, ranks: list[tuple[int, int]], taken: str, why: str
) -> None:
    found = choose(asked, ranks)
    assert (found.name, found.why, found.scales) == (taken, why, taken == "fp16")


def test_every_cpu_computes_in_bf16() -> None:
    assert abilities(torch.device("cpu"))[0] in (SLOW, NATIVE)


def test_the_scale_falls_at_once_and_rises_after_many_good_steps() -> None:
    scaler, weight = LossScaler(), torch.zeros(3)
    weight.grad = torch.tensor([65536.0, 0.0, -131072.0])
    assert scaler.unscale([weight])
    assert weight.grad.tolist() == [1.0, 0.0, -2.0]
    weight.grad = torch.tensor([0.0, torch.inf, 0.0])
    assert not scaler.unscale([weight])
    assert (scaler.skipped, scaler.state()) == (True, {"scale": 32768.0, "good_steps": 0})
    weight.grad = torch.zeros(3)
    assert all(scaler.unscale([weight]) for _ in range(2000))
    assert (scaler.skipped, scaler.state()) == (False, {"scale": 65536.0, "good_steps": 0})


def test_a_gradient_that_is_none_at_any_scale_is_not_put_down_to_the_scale() -> None:
    scaler, weight = LossScaler(), torch.zeros(1)
    skipped = []
    for _ in range(20):
        weight.grad = torch.tensor([torch.nan])
        assert not scaler.unscale([weight])
        skipped.append(scaler.skipped)
    assert skipped == [True] * 16 + [False] * 4
    assert scaler.scale == 1.0

"""The optimizer's groups and the factor on its rates."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from motley.trainer.contract.spec import RunOptions
from motley.trainer.optimize.optimizer import decay_groups, make_optimizer, rate_factor


def factors(steps: int, **options: object) -> list[float]:
    return [rate_factor(RunOptions(**options), step, steps) for step in range(steps)]  # type: ignore[arg-type]


def test_the_rate_rises_linearly_and_the_schedule_begins_at_the_full_rate() -> None:
    assert factors(6, warmup_steps=4, schedule="constant") == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert factors(8, warmup_steps=4)[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors(8, warmup_steps=4)[4:] == factors(4)
    assert factors(3, warmup_steps=9) == pytest.approx([1 / 9, 2 / 9, 3 / 9])  # the run ends before


def test_biases_and_norms_do_not_decay() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm([6, 6]), nn.BatchNorm1d(6), nn.Linear(6, 2, bias=False))
    model.append(nn.ParameterList([model[0].weight]))  # shared: in one group, once
    groups = make_optimizer(RunOptions(weight_decay=0.1, weight_decay_groups=True), model).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(2, 0.1), (5, 0.0)]
    assert {p for group in groups for p in group["params"]} == set(model.parameters())
    plain = make_optimizer(RunOptions(weight_decay=0.1), model).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in plain] == [(7, 0.1)]


def test_a_model_of_one_kind_of_parameters_has_one_group() -> None:
    assert len(decay_groups(nn.Linear(2, 2, bias=False))) == 1
    assert len(decay_groups(nn.LayerNorm(3))) == 1


def test_what_does_not_decay_stays_when_there_is_no_gradient() -> None:
    model = nn.Linear(3, 2)
    weight, bias = model.weight.detach().clone(), model.bias.detach().clone()
    optimizer = make_optimizer(RunOptions(optimizer="adamw", weight_decay=0.5, weight_decay_groups=True), model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.equal(model.bias, bias)
    assert float(model.weight.detach().norm()) < float(weight.norm())

"""What a rank takes from one group to the next: a whole state at every moment, whatever came or not."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from motley.trainer.balance.measured_step import MeasuredStep
from motley.trainer.rank.kept_state import KeptState
from motley.trainer.rank.share_state import Incoming
from motley.trainer.training.step_undo import StepUndo


class Buffered(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(2))
        self.mean: torch.Tensor


def in_step(step: int, **more: Any) -> tuple[KeptState, Buffered]:
    """A rank whose group broke in the step after `step`, when that had changed its buffers already."""
    model = Buffered()
    undo = StepUndo(model, torch.device("cpu"))
    undo.note()
    model.mean += 1
    return KeptState(step=step, undo=undo, **more), model


def incoming(step: int, *places: tuple[torch.Tensor, torch.Tensor]) -> Incoming:
    return Incoming(step=step, _optimizer=torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0), _places=list(places))


def test_a_step_that_another_completed_is_undone_after_all_when_its_state_never_came() -> None:
    kept, model = in_step(411)
    assert kept.settle(412, epoch_ends=0)
    assert model.mean.tolist() == [1, 1]  # it went through the step as well
    assert kept.settle(411, epoch_ends=0)  # whoever had completed it is gone
    assert model.mean.tolist() == [0, 0]


def test_a_step_that_was_undone_is_gone_through_after_all_when_another_had_completed_it() -> None:
    kept, model = in_step(411)
    begun = torch.get_rng_state()
    kept.settle(411, epoch_ends=0)  # whoever has completed it isn't here yet, and this group breaks, too
    torch.rand(3)
    kept.settle(411, epoch_ends=0)
    assert model.mean.tolist() == [0, 0]
    assert kept.settle(412, epoch_ends=0)
    assert model.mean.tolist() == [1, 1]
    assert torch.equal(torch.get_rng_state(), begun)


def test_an_end_of_an_epoch_that_another_came_through_is_done_again_when_its_state_never_came() -> None:
    kept, model = in_step(411, ending_epoch=True, epoch_ends=3)
    kept.settle(411, epoch_ends=4)
    assert (model.mean.tolist(), kept.epoch_ends) == ([1, 1], 3)
    kept.settle(411, epoch_ends=3)
    assert model.mean.tolist() == [0, 0]


def test_a_state_is_taken_at_once_with_all_that_belongs_to_it() -> None:
    kept, model = in_step(411, generation=2)
    kept.take(incoming(413, (model.mean, torch.full((2,), 7.0))), epoch_ends=4, best=0.5)
    assert (kept.step, kept.epoch_ends, kept.best, kept.undo) == (413, 4, 0.5, None)
    assert model.mean.tolist() == [7, 7]
    assert len(kept.rows) == 2  # of the steps that it did not make itself


def test_steps_of_a_state_that_does_not_count_are_not_told() -> None:
    kept, model = in_step(411, generation=2, rows=(MeasuredStep(batch=8, loss_sum=1.0, busy_ms=1.0, step_ms=1.0),) * 4)
    kept.discard()
    kept.take(incoming(3, (model.mean, torch.zeros(2))), epoch_ends=0, best=0.0)
    assert len(kept.rows) == 3


def test_a_state_that_can_not_be_put_in_place_is_none() -> None:
    kept, model = in_step(411)
    try:
        kept.take(incoming(413, (model.mean, torch.zeros(3))), epoch_ends=4, best=0.5)
    except RuntimeError:
        assert kept.step == -1
        assert not kept.changing.locked()
    else:
        raise AssertionError("three numbers fit into two")


def test_looking_at_the_state_before_a_step_leaves_the_step_as_it_is() -> None:
    kept, model = in_step(411)
    assert kept.undo is not None
    random = torch.get_rng_state()
    with kept.undo.undone():
        assert model.mean.tolist() == [0, 0]
        torch.rand(3)
    assert model.mean.tolist() == [1, 1]
    assert torch.equal(torch.get_rng_state(), random)

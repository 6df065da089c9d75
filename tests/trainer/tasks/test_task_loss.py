"""What a task's own loss comes to over the parts of a batch, whatever a part holds."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from motley.trainer.data.batch import Batch
from motley.trainer.tasks.task import Task
from motley.trainer.tasks.task_loss import evaluated, summed_loss
from motley.trainer.tasks.task_module import TaskModule
from motley.trainer.training.loss_denominator import LossDenominator

MASKED = -100
FORMS = ["ignore_index", "by a mask"]


class Masked(Task):
    """Two classes, targets that do not count, and the mean over those that do, as most people write it."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form

    def model(self) -> nn.Module:
        return nn.Linear(3, 2).double()

    def count(self, targets: Tensor) -> int | None:
        return int((targets != MASKED).sum())

    def loss(self, outputs: Any, targets: Tensor) -> Tensor:
        (scores,) = outputs["scores"]
        if self.form == "ignore_index":
            return nn.functional.cross_entropy(scores, targets, ignore_index=MASKED)
        mask = (targets != MASKED).double()
        each = nn.functional.cross_entropy(scores, targets.clamp(min=0), reduction="none")
        return (each * mask).sum() / mask.sum()

    def metrics(self, outputs: Any, targets: Tensor) -> dict[str, Tensor]:
        (scores,) = outputs["scores"]
        right = (scores.argmax(dim=1) == targets)[targets != MASKED]
        return {"accuracy": right.double().mean()}


class InATable(nn.Module):
    """Outputs need not be one tensor."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: Tensor) -> dict[str, Any]:
        return {"scores": (self.inner(inputs),), "name": "scores"}


def gradient_and_loss(task: Masked, parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, float]:
    torch.manual_seed(0)
    model = InATable(task.model())
    total = 0.0
    for part in parts:
        loss = summed_loss(task, TaskModule(task, model), part, len(part[1]))
        loss.backward()
        total += float(loss.detach())
    grads = [p.grad for p in model.parameters()]
    assert all(grad is not None for grad in grads)  # a rank waits for each of them
    return torch.cat([grad.flatten() for grad in grads if grad is not None]), total


@pytest.mark.parametrize("form", FORMS)
def test_a_part_in_which_nothing_counts_adds_nothing(form: str) -> None:
    task, inputs = Masked(form), torch.randn(6, 3, dtype=torch.float64)
    targets = torch.tensor([0, 1, 1, MASKED, MASKED, MASKED])
    whole, loss = gradient_and_loss(task, [(inputs, targets)])
    cut, loss_of_parts = gradient_and_loss(
        task, [(inputs[:2], targets[:2]), (inputs[2:4], targets[2:4]), (inputs[4:], targets[4:])]
    )
    torch.testing.assert_close(cut, whole)
    assert loss_of_parts == pytest.approx(loss)
    nothing, zero = gradient_and_loss(task, [(inputs[3:], targets[3:])])
    assert (nothing == 0).all()
    assert zero == 0


@pytest.mark.parametrize("form", FORMS)
def test_nor_does_it_in_an_evaluation(form: str) -> None:
    task = Masked(form)
    loss, metrics = evaluated(
        task, TaskModule(task, InATable(task.model())), (torch.randn(2, 3).double(), torch.tensor([MASKED, MASKED])), 2
    )
    assert float(loss.detach()) == 0
    assert float(metrics["accuracy"]) == 0


def test_a_loss_that_is_no_number_where_something_counts_stays_so() -> None:
    task, inputs = Masked("by a mask"), torch.full((2, 3), torch.inf).double()
    assert math.isnan(gradient_and_loss(task, [(inputs, torch.tensor([0, MASKED]))])[1])


class Uncounted(Masked):
    def count(self, targets: Tensor) -> int | None:
        del targets
        return None


def test_a_task_may_count_samples_after_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """`None` is: its samples. Gradients are divided by the step's samples already, so that nothing is left to mend."""
    sums = []

    def all_reduce(tensor: Tensor, *, async_op: bool) -> Done:
        assert async_op
        sums.append(int(tensor))
        return Done()

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    counted = LossDenominator(Uncounted("by a mask"))
    counted.begin(Batch((torch.zeros(8, 3), torch.zeros(8).long()), 8))
    assert sums == [8]
    assert counted.samples_over_count(8) == 1


class Done:
    def wait(self) -> None: ...

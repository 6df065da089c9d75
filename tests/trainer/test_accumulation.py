"""Accumulation: a step in several parts learns what it learns in one, whatever the parts and the split."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from motley.trainer import tasks
from motley.trainer.contract.spec import DataOptions, RunOptions
from motley.trainer.data.pass_sizes import parts
from motley.trainer.optimize.optimizer import rate_factor
from motley.trainer.tasks.task import Task
from motley.trainer.training import batchnorm
from motley.trainer.training.epoch_end import evaluate
from motley.trainer.training.loop import train, train_step
from motley.trainer.training.sampler import BatchSampler
from tests.trainer.ranks import make_job, run_ranks
from tests.trainer.written_out import WrittenOut

pytestmark = pytest.mark.ranks

OPTIONS = RunOptions(task="simple_cnn/digits", norm="group", global_batch=128, steps=13, clip_norm=0.5)


class Tokens(Task):
    """Digits in float64 where 8 and 9 are masked, and 0 weighs twice: a stand-in for text of uneven length."""

    def __init__(self) -> None:
        super().__init__()
        self.digits = tasks.load(OPTIONS, DataOptions(), lambda *_: None)

    def model(self) -> nn.Module:
        return self.digits.model().double()

    def train_data(self) -> Any:
        return self.digits.train_data()

    def test_data(self) -> Any:
        return self.digits.test_data()

    def prepare(self, batch: Any) -> Any:
        images, labels = self.digits.prepare(batch)
        return images.double(), labels

    def weights(self, targets: Tensor) -> Tensor:
        return (targets < 8).long() + (targets == 0).long()

    def count(self, targets: Tensor) -> int:
        return int(self.weights(targets).sum())

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets, reduction="none") * self.weights(targets)

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {"accuracy": (outputs.argmax(dim=1) == targets) * self.weights(targets)}


def curve(rank: int, world_size: int, given: dict[str, Any]) -> list[list[float]]:
    """The summed losses of each of this rank's steps, for each of the runs."""
    curves = []
    for shares, accumulate in given["runs"]:
        options = dataclasses.replace(OPTIONS, accumulate=accumulate)
        job = make_job(
            rank, world_size, options, shares, double=not given["tokens"], task=Tokens() if given["tokens"] else None
        )
        losses = []
        while job.step < job.steps_total:
            train_step(job, job.batches.place(job.step))
            losses.append(job.window.rows[-1].loss_sum)
        curves.append(losses)
    return curves


def added_up(ranks: list[list[list[float]]], run: int) -> list[float]:
    return [sum(step) for step in zip(*(rank[run] for rank in ranks), strict=True)]


@given(samples=st.integers(1, 300), accumulate=st.integers(1, 40), limit=st.none() | st.integers(1, 300))
def test_parts_cover_the_share_within_the_limit(samples: int, accumulate: int, limit: int | None) -> None:
    sizes = parts(samples, accumulate, limit)
    assert sum(sizes) == samples
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) >= min(accumulate, samples)
    assert limit is None or max(sizes) <= limit


@pytest.mark.long
def test_loss_curve_does_not_depend_on_accumulation_or_the_split() -> None:
    """Unequal parts (35 in 4), more parts than samples (3 in 4), a rank without samples, the smaller last step."""
    runs = [((128, 0), 1), ((93, 35), 4), ((125, 3), 4), ((0, 128), 3)]
    ranks = run_ranks(2, curve, {"runs": runs, "tokens": False})
    alone = run_ranks(1, curve, {"runs": [((128,), 1)], "tokens": False})[0][0]
    assert alone[-1] < alone[0]
    for run in range(len(runs)):
        assert added_up(ranks, run) == pytest.approx(alone, rel=1e-9)


@pytest.mark.long
def test_a_task_that_counts_tokens_is_weighted_by_them() -> None:
    """The split leaves the ranks with unequal parts of the unmasked targets; the mean is over all of them."""
    runs = [((100, 28), 1), ((64, 64), 3), ((128, 0), 1)]
    ranks = run_ranks(2, curve, {"runs": runs, "tokens": True})
    expected = single_token_curve(Tokens())
    for run in range(len(runs)):
        found = [total / size for total, size in zip(added_up(ranks, run), [128] * 11 + [92, 128], strict=True)]
        assert found == pytest.approx(expected, rel=1e-9)


def single_token_curve(tokens: Tokens) -> list[float]:
    """The same training written out for one process: the mean over the targets that count, clipped, SGD."""
    task, losses = WrittenOut(tokens), list[float]()
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=OPTIONS.learning_rate, momentum=OPTIONS.momentum)
    batches = BatchSampler(count=task.train_size, global_batch=128, seed=0)
    for step in range(13):
        inputs, targets = task.train_batch(batches.ids(step, (128,), 0), batches.place(step).epoch)
        optimizer.param_groups[0]["lr"] = OPTIONS.learning_rate * rate_factor(OPTIONS, step, 13)
        optimizer.zero_grad()
        loss = task.loss_sum(model(inputs), targets) / tokens.count(targets)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def evaluated(rank: int, world_size: int, given: dict[str, Any]) -> tuple[float, float]:
    job = make_job(rank, world_size, OPTIONS, given["shares"], double=False, task=Tokens())
    found = evaluate(job)
    return found.metrics["accuracy"], found.loss


@pytest.mark.parametrize("shares", [(100, 28), (128, 0)], ids=["of both ranks", "of one that has no part"])
def test_evaluation_counts_what_the_task_counts(shares: tuple[int, int]) -> None:
    tokens = Tokens()
    task = WrittenOut(tokens)
    results = run_ranks(2, evaluated, {"shares": shares})
    inputs, targets = task.test_batch(0, task.test_size)
    outputs = task.model().eval()(inputs)
    expected = (
        int(task.correct(outputs, targets)) / tokens.count(targets),
        float(task.loss_sum(outputs, targets).detach()) / tokens.count(targets),
    )
    for result in results:
        assert result == pytest.approx(expected, rel=1e-9)


def lonely(rank: int, world_size: int, given: dict[str, Any]) -> tuple[list[float], list[int]]:
    """BatchNorm with one sample on rank 1, then none: losses, and how often rank 1's statistics were updated."""
    options = RunOptions(task="simple_cnn/digits", global_batch=32, steps=4, eval_every=0, checkpoint_every=0)
    job = make_job(rank, world_size, options, given["shares"], double=False)
    train(job)
    tracked = [int(b) for name, b in job.task_model.named_buffers() if name.endswith("num_batches_tracked")]
    return [float(p.detach().abs().max()) for p in job.model.parameters()], tracked


@pytest.mark.parametrize("shares", [(31, 1), (32, 0)])
def test_a_rank_with_one_sample_or_none_trains_with_batchnorm(shares: tuple[int, int]) -> None:
    first, second = run_ranks(2, lonely, {"shares": shares})
    assert first[0] == pytest.approx(second[0], rel=1e-6)
    assert all(torch.isfinite(torch.tensor(first[0])))
    assert set(first[1]) == {4}
    assert set(second[1]) == {0}


def test_single_samples_leave_other_layers_in_training() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())
    batchnorm.train(model, samples=1)
    assert [m.training for m in model] == [False, True]
    batchnorm.train(model, samples=2)
    assert [m.training for m in model] == [True, True]

"""How a batch is split changes nothing that is learned: unequal splits against one process that takes the whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from motley.trainer import tasks
from motley.trainer.contract.spec import DataOptions, RunOptions
from motley.trainer.training.loop import train_step
from motley.trainer.training.sampler import BatchSampler
from tests.trainer.ranks import make_job, run_ranks
from tests.trainer.written_out import WrittenOut

pytestmark = pytest.mark.ranks

OPTIONS = RunOptions(task="simple_cnn/digits", norm="group", global_batch=128, steps=14, clip_norm=1.0)
SPLITS = ((128, 0), (120, 8), (96, 32))


def gradients_of_splits(rank: int, world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    """The loop's gradient of step 1 for each split, in float64 and float32, and plain DDP's."""
    found: dict[str, Any] = {}
    options = RunOptions(task="simple_cnn/digits", norm="group", global_batch=128)
    for double in (True, False):
        for split in given["splits"]:
            job = make_job(rank, world_size, options, split, double=double)
            train_step(job, job.batches.place(0))
            found[f"{split} {double}"] = [p.grad.clone().numpy() for p in job.model.parameters() if p.grad is not None]
    job = make_job(rank, world_size, options, given["splits"][1], double=True)
    plain = DistributedDataParallel(job.task.model().double())
    inputs, targets = job.data.train_batch(job.batches.ids(0, given["splits"][1], rank), 0).content
    torch.autograd.backward(nn.functional.cross_entropy(plain(inputs), targets))
    found["plain"] = [p.grad.numpy() for p in plain.parameters() if p.grad is not None]
    return found


def losses_of_splits(rank: int, world_size: int, given: dict[str, Any]) -> list[Any]:
    """Each split trained for `OPTIONS.steps` steps: (losses weighted by batch, ids of every step, last parameters)."""
    runs = []
    for split in given["splits"]:
        job = make_job(rank, world_size, OPTIONS, split, double=True)
        losses, ids = [], []
        while job.step < job.steps_total:
            ids.append(job.batches.ids(job.step, job.shares, rank).tolist())
            train_step(job, job.batches.place(job.step))
            losses.append(job.window.rows[-1].loss_sum)
        runs.append((losses, ids, [p.detach().numpy() for p in job.model.parameters()]))
    return runs


def single_gradient(double: bool) -> list[torch.Tensor]:
    options = RunOptions(task="simple_cnn/digits", norm="group", global_batch=128)
    task = WrittenOut(tasks.load(options, DataOptions(), lambda *_: None))
    model = task.model().double() if double else task.model()
    ids = BatchSampler(count=task.train_size, global_batch=128, seed=0).ids(0, (128,), 0)
    inputs, targets = task.train_batch(ids, 0)
    loss = task.loss_sum(model(inputs.double() if double else inputs), targets) / 128
    torch.autograd.backward(loss)
    return [p.grad for p in model.parameters() if p.grad is not None]


def relative(found: list[Any], expected: list[torch.Tensor]) -> float:
    """Norm of the difference over the norm, of all parameters together."""
    ours = torch.cat([torch.as_tensor(f).flatten().double() for f in found])
    theirs = torch.cat([e.flatten().double() for e in expected])
    return float((ours - theirs).norm() / theirs.norm())


@pytest.fixture(scope="module")
def gradients() -> list[dict[str, Any]]:
    return run_ranks(2, gradients_of_splits, {"splits": SPLITS})


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("double", "bound"), [(True, 1e-12), (False, 1e-6)])
def test_gradient_of_an_unequal_split_is_that_of_the_whole_batch(
    gradients: list[dict[str, Any]], split: tuple[int, int], double: bool, bound: float
) -> None:
    for rank in gradients:
        assert relative(rank[f"{split} {double}"], single_gradient(double)) < bound


def test_plain_ddp_gets_an_unequal_split_wrong(gradients: list[dict[str, Any]]) -> None:
    """What the loop's weighting is there for: without it the same comparison is far off."""
    assert relative(gradients[0]["plain"], single_gradient(True)) > 0.05


def test_loss_curve_samples_and_parameters_do_not_depend_on_the_split() -> None:
    """14 steps at 128 of 1,500 samples: the smaller last step of an epoch is among them."""
    ranks = run_ranks(2, losses_of_splits, {"splits": SPLITS})
    sizes = [128] * 11 + [1500 - 11 * 128] + [128] * 2
    curves = []
    for run in range(len(SPLITS)):
        sums = [sum(step) for step in zip(*(rank[run][0] for rank in ranks), strict=True)]
        curves.append([total / size for total, size in zip(sums, sizes, strict=True)])
        ids = [[*first, *second] for first, second in zip(*(rank[run][1] for rank in ranks), strict=True)]
        assert [len(step) for step in ids] == sizes
        whole = [[*first, *second] for first, second in zip(*(rank[0][1] for rank in ranks), strict=True)]
        assert ids == whole
        expected = [torch.as_tensor(p) for p in ranks[0][0][2]]
        assert relative(ranks[1][run][2], expected) < 1e-10
    assert curves[0][-1] < curves[0][0] / 2
    for curve in curves[1:]:
        assert curve == pytest.approx(curves[0], rel=1e-9)

"""Every option of how is trained learns what plain torch in one process learns with it, at any split."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import swa_utils

from motley.trainer.contract.spec import RunOptions
from motley.trainer.host.journal import Journal
from motley.trainer.rank.restore_state import go_on
from motley.trainer.rank.share_state import share_state
from motley.trainer.training import checkpoint
from motley.trainer.training.job import Job
from motley.trainer.training.loop import train_step
from motley.trainer.training.sampler import BatchSampler
from tests.trainer.noise_task import NoiseTask
from tests.trainer.ranks import make_job, run_ranks
from tests.trainer.written_out import WrittenOut

pytestmark = pytest.mark.ranks

BATCH, STEPS = 24, 7  # of 96 samples
SPLITS = ((24, 0), (23, 1), (9, 15))


class Blocks(NoiseTask):
    """Two blocks with a norm each, in float64."""

    name = "blocks/noise"

    def model(self) -> nn.Module:
        torch.manual_seed(3)
        blocks = [nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.Tanh()) for _ in range(2)]
        return nn.Sequential(*blocks, nn.Linear(6, 4)).double()


def plain(options: RunOptions, optimizer: torch.optim.Optimizer, model: nn.Module, rates: list[float]) -> nn.Module:
    """`STEPS` steps in one process, written out; the average of the weights as torch has it."""
    task = WrittenOut(Blocks())
    average = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(options.ema or 0.5))
    average.update_parameters(model)  # the first takes the weights as they are
    batches = BatchSampler(count=task.train_size, global_batch=BATCH, seed=0)
    for step in range(STEPS):
        inputs, targets = task.train_batch(batches.ids(step, (BATCH,), 0), batches.place(step).epoch)
        for group in optimizer.param_groups:
            group["lr"] = rates[step]
        optimizer.zero_grad()
        torch.autograd.backward(task.loss_sum(model(inputs), targets) / BATCH)
        optimizer.step()
        average.update_parameters(model)
    return average.module


def of_splits(rank: int, world_size: int, given: dict[str, Any]) -> list[list[Any]]:
    """The parameters after all steps, and with `ema` their average, for each split."""
    found = []
    for split in SPLITS:
        job = make_job(rank, world_size, given["options"], split, double=False, task=Blocks())
        while job.step < STEPS:
            train_step(job, job.batches.place(job.step))
        found.append(tensors(job))
    return found


def tensors(job: Job) -> list[Any]:
    """The weights, then their average."""
    average = job.ema.tensors() if job.ema is not None else []
    return [tensor.detach().numpy() for tensor in [*job.task_model.parameters(), *average]]


def same(found: list[Any], expected: list[Tensor]) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(torch.allclose(torch.as_tensor(ours), theirs, rtol=1e-9, atol=1e-12) for ours, theirs in pairs)


def check(options: RunOptions, expected: list[Tensor]) -> None:
    for rank in run_ranks(2, of_splits, {"options": options}):
        for split, found in zip(SPLITS, rank, strict=True):
            assert same(found, expected), split


def test_warm_up_and_parameter_groups() -> None:
    options = RunOptions(
        global_batch=BATCH, steps=STEPS, warmup_steps=3, weight_decay=0.05, weight_decay_groups=True, optimizer="adamw"
    )
    model = Blocks().model()
    weights = [p for p in model.parameters() if p.dim() == 2]
    rest = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": weights, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0}])
    aside = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=options.learning_rate)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(aside, STEPS - 3)
    rates = [options.learning_rate * part / 3 for part in (1, 2, 3)]
    for _ in range(STEPS - 3):
        rates.append(float(cosine.get_last_lr()[0]))
        aside.step()
        cosine.step()
    plain(options, optimizer, model, rates)
    check(options, [p.detach() for p in model.parameters()])


AVERAGED = RunOptions(global_batch=BATCH, steps=STEPS, ema=0.7, precision="fp16", schedule="constant")


def averaged() -> list[Tensor]:
    """The loss scale of fp16 is a power of two, and float64 is not cast: it must not be seen in what comes out."""
    model = Blocks().model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    average = plain(AVERAGED, optimizer, model, [0.05] * STEPS)
    return [p.detach() for p in [*model.parameters(), *average.parameters()]]


def test_the_average_of_the_weights_and_the_loss_scale() -> None:
    check(AVERAGED, averaged())


def first_half(rank: int, world_size: int, given: dict[str, Any]) -> None:
    job = make_job(rank, world_size, AVERAGED, (9, 15), double=False, task=Blocks())
    while job.step < 4:
        train_step(job, job.batches.place(job.step))
    if rank == 0:
        assert job.scaler is not None
        job.scaler.load({"scale": 8.0, "good_steps": 7})
        checkpoint.save(given["folder"] / "epoch_1.pt", job.content())


def second_half(rank: int, world_size: int, given: dict[str, Any]) -> tuple[list[Any], Any]:
    """Rank 0 has the checkpoint, the others get it."""
    job = make_job(rank, world_size, AVERAGED, (4, 0, 20), double=False, task=Blocks())
    if rank == 0:
        spec: Any = SimpleNamespace(resume=str(given["folder"]), options=AVERAGED, resumed_from="night")
        job.step = go_on(spec, job.state, Journal(given["folder"], host="box", source="rank 0"), ()).step
    job.step = share(job)
    while job.step < STEPS:
        train_step(job, job.batches.place(job.step))
    assert job.scaler is not None
    return tensors(job), job.scaler.state()


def share(job: Job) -> int:
    incoming = share_state(job.task_model, job.optimizer, job.step, more=job.state.tensors())
    incoming.put()
    return incoming.step


def test_average_and_loss_scale_go_on_with_another_number_of_ranks(tmp_path: Path) -> None:
    run_ranks(2, first_half, {"folder": tmp_path})
    expected = averaged()
    for found, scale in run_ranks(3, second_half, {"folder": tmp_path}):
        assert same(found, expected)
        assert scale == {"scale": 8.0, "good_steps": 7 + STEPS - 4}

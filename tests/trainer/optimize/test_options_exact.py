"""Every option of how is trained learns what plain torch in one process learns with it, at any split."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from motley.trainer.contract.spec import RunOptions
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


def of_splits(rank: int, world_size: int, given: dict[str, Any]) -> list[list[Any]]:
    """The parameters after all steps, for each split."""
    found = []
    for split in SPLITS:
        job = make_job(rank, world_size, given["options"], split, double=False, task=Blocks())
        while job.step < STEPS:
            train_step(job, job.batches.place(job.step))
        found.append([p.detach().numpy() for p in job.task_model.parameters()])
    return found


def check(options: RunOptions, expected: list[Tensor]) -> None:
    for rank in run_ranks(2, of_splits, {"options": options}):
        for split, found in zip(SPLITS, rank, strict=True):
            for ours, theirs in zip(found, expected, strict=True):
                assert torch.allclose(torch.as_tensor(ours), theirs, rtol=1e-9, atol=1e-12), split


def test_warm_up_and_parameter_groups() -> None:
    options = RunOptions(
        global_batch=BATCH, steps=STEPS, warmup_steps=3, weight_decay=0.05, weight_decay_groups=True, optimizer="adamw"
    )
    task = WrittenOut(Blocks())
    model = task.model()
    weights = [p for p in model.parameters() if p.dim() == 2]
    rest = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW([{"params": weights, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0}])
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR
    rate = torch.nn.Parameter(torch.zeros(()))
    schedule = cosine(torch.optim.SGD([rate], lr=options.learning_rate), STEPS - 3)
    rates = [options.learning_rate * part / 3 for part in (1, 2, 3)]
    for _ in range(STEPS - 3):
        rates.append(float(schedule.get_last_lr()[0]))
        schedule.optimizer.step()
        schedule.step()
    batches = BatchSampler(count=task.train_size, global_batch=BATCH, seed=0)
    for step in range(STEPS):
        inputs, targets = task.train_batch(batches.ids(step, (BATCH,), 0), batches.place(step).epoch)
        for group in optimizer.param_groups:
            group["lr"] = rates[step]
        optimizer.zero_grad()
        torch.autograd.backward(task.loss_sum(model(inputs), targets) / BATCH)
        optimizer.step()
    check(options, [p.detach() for p in model.parameters()])

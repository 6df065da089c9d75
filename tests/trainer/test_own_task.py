"""A task of the user's own on real ranks: unequal splits learn what one process learns, from samples of a Dataset."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from motley.trainer.contract.spec import DataOptions, RunOptions
from motley.trainer.contract.task_name import OwnTask
from motley.trainer.data.task_data import TaskData
from motley.trainer.host.paths import project_folder
from motley.trainer.tasks import load
from motley.trainer.tasks.task import Task
from motley.trainer.training.loop import train_step
from motley.trainer.training.sampler import BatchSampler
from tests.trainer.ranks import make_job, run_ranks

pytestmark = pytest.mark.ranks

OPTIONS = RunOptions(task="words.py", global_batch=24, steps=9, clip_norm=1.0, seed=3)
SPLITS = ((24, 0), (23, 1), (9, 15))
WORDS = '''
import random
import torch
from torch import nn
import motley


class Words(motley.Task):
    """Sentences of tokens, some masked, as dicts: an embedding and two heads, with rates of their own."""

    def model(self):
        return nn.ModuleDict({"words": nn.Embedding(11, 6), "head": nn.Linear(6, 11)}).double()

    def train_data(self):
        return Sentences()

    def forward(self, model, batch):
        return model["head"](model["words"](batch["tokens"]))

    def loss(self, outputs, batch):
        losses = nn.functional.cross_entropy(outputs.transpose(1, 2), batch["next"], reduction="none")
        return (losses * batch["mask"]).sum(dim=1)

    def count(self, batch):
        return int(batch["mask"].sum())

    def optimizer(self, model):
        groups = [{"params": model["words"].parameters(), "lr": 0.5}, {"params": model["head"].parameters()}]
        return torch.optim.AdamW(groups, lr=0.05)

    def schedule(self, step, steps):
        return 1 - step / steps


class Sentences(torch.utils.data.Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, number):
        start, kept = random.randrange(11), torch.rand(5) < 0.3 + 0.6 * (number % 2)
        tokens = (start + number * torch.arange(6)) % 11
        return {"tokens": tokens[:-1], "next": tokens[1:], "mask": kept.double()}
'''


def own_task(home: Path) -> Task:
    os.environ["HOME"] = str(home)
    own = OwnTask(tree="f00", file="words.py")
    folder = project_folder(own.tree)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "words.py").write_text(WORDS)
    return load(OPTIONS, DataOptions(), lambda *_: None, own)


def curves(rank: int, world_size: int, given: dict[str, Any]) -> list[Any]:
    task, found = own_task(given["home"] / f"rank{rank}"), []
    for shares, accumulate in given["runs"]:
        torch.manual_seed(OPTIONS.seed)
        job = make_job(
            rank, world_size, dataclasses.replace(OPTIONS, accumulate=accumulate), shares, double=False, task=task
        )
        losses = []
        while job.step < job.steps_total:
            train_step(job, job.batches.place(job.step))
            losses.append(job.window.rows[-1].loss_sum)
        found.append((losses, [p.detach().numpy() for p in job.task_model.parameters()]))
    return found


def alone(rank: int, _world_size: int, given: dict[str, Any]) -> tuple[list[float], list[Any]]:
    """The same training written out for one process: the mean over the tokens that are not masked."""
    task: Any = own_task(given["home"] / f"alone{rank}")
    torch.manual_seed(OPTIONS.seed)
    data, model, losses = TaskData.of(task, seed=OPTIONS.seed), task.model(), []
    optimizer = task.optimizer(model)
    rates = [group["lr"] for group in optimizer.param_groups]
    batches = BatchSampler(count=data.train_size, global_batch=24, seed=OPTIONS.seed)
    for step in range(9):
        batch = data.train_batch(batches.ids(step, (24,), 0), batches.place(step).epoch).content
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * task.schedule(step, 9)
        optimizer.zero_grad()
        loss = task.loss(task.forward(model, batch), batch).sum() / task.count(batch)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, [p.detach().numpy() for p in model.parameters()]


def test_losses_and_weights_are_those_of_one_process_at_any_split_and_accumulation(tmp_path: Path) -> None:
    runs = [*((split, 1) for split in SPLITS), ((17, 7), 3)]
    ranks = run_ranks(2, curves, {"runs": runs, "home": tmp_path})
    ((losses, weights),) = run_ranks(1, alone, {"home": tmp_path})
    sizes = [24, 24, 16] * 3
    for run in range(len(runs)):
        summed = [sum(parts) for parts in zip(*(rank[run][0] for rank in ranks), strict=True)]
        assert [total / size for total, size in zip(summed, sizes, strict=True)] == pytest.approx(losses, rel=1e-9)
        for rank in ranks:
            for mine, expected in zip(rank[run][1], weights, strict=True):
                assert torch.allclose(torch.as_tensor(mine), torch.as_tensor(expected), rtol=1e-8, atol=1e-12)
    assert losses[-1] < losses[0]


def shifting(rank: int, world_size: int, given: dict[str, Any]) -> list[list[Any]]:
    """Losses and weights of runs whose shares change every other step, with so many workers each."""
    task, found = own_task(given["home"] / f"rank{rank}"), []
    for workers in given["workers"]:
        torch.manual_seed(OPTIONS.seed)
        job = make_job(rank, world_size, OPTIONS, (12, 12), double=False, task=task, workers=workers)
        pids = job.data.pool.pids if job.data.pool is not None else []
        losses = []
        while job.step < job.steps_total:
            job.shares = ((12, 12), (5, 19), (24, 0))[job.step // 2 % 3]
            train_step(job, job.batches.place(job.step))
            losses.append(job.window.rows[-1].loss_sum)
        assert pids == (job.data.pool.pids if job.data.pool is not None else [])
        found.append([losses, [p.detach().tolist() for p in job.task_model.parameters()], len(pids)])
        job.data.close()
    return found


def test_workers_change_nothing_of_what_is_learned_while_shares_shift(tmp_path: Path) -> None:
    for runs in run_ranks(2, shifting, {"workers": (0, 1, 3), "home": tmp_path}):
        assert [run[2] for run in runs] == [0, 1, 3]
        assert runs[0][:2] == runs[1][:2] == runs[2][:2]

"""What Motley is compared with: a minimal DDP script as one writes it by hand, for `torchrun` on every host.

It has the same model, data and optimizer as the Motley runs, and no metrics, no balancing, no checkpoints. Splits are
given; with several, they take turns in blocks of steps, so that they meet the same disturbances of the machine.
Rank 0 prints one JSON line a block: {"split": [...], "ms": [time of each step], "ends": [in seconds since the epoch]}.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from motley.trainer import tasks
from motley.trainer.contract.spec import DataOptions, RunOptions
from motley.trainer.data.task_data import TaskData


class Training(Protocol):
    """What is trained: samples are drawn from `train_size`."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    train_size: int

    def loss(self, model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
        """The sum over these samples."""


class OfTask:
    """The same as a Motley run of the task."""

    def __init__(self, name: str) -> None:
        task = tasks.load(RunOptions(task=name), DataOptions(), lambda *_: None)
        self._data = TaskData.of(task, seed=0)
        self.train_size = self._data.train_size
        self.model: nn.Module = task.model()
        self.optimizer: torch.optim.Optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)

    def batch(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets, on the CPU."""
        inputs, targets = self._data.train_batch(ids, 0).content
        return inputs, targets

    def loss(self, model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
        inputs, targets = self.batch(ids)
        return nn.functional.cross_entropy(model(inputs), targets, reduction="sum")


def train(training: Training, splits: Sequence[Sequence[int]], *, rounds: int, block: int) -> None:
    """In every rank of a group."""
    rank, world = dist.get_rank(), dist.get_world_size()
    model = DistributedDataParallel(training.model, broadcast_buffers=False)
    generator = torch.Generator().manual_seed(0)
    for number in range(rounds * len(splits)):
        split = splits[number % len(splits)]
        total, start = sum(split), sum(split[:rank])
        times: list[float] = []
        ends: list[float] = []
        end = time.perf_counter()
        for _ in range(block):
            ids = torch.randint(training.train_size, (total,), generator=generator)[start : start + split[rank]]
            training.optimizer.zero_grad()
            torch.autograd.backward(training.loss(model, ids) * world / total)
            training.optimizer.step()
            now = time.perf_counter()
            times.append((now - end) * 1000)
            ends.append(time.time())
            end = now
        if rank == 0:
            with Path(os.environ["MINIMAL_OUT"]).open("a") as out:
                print(json.dumps({"split": split, "ms": times, "ends": ends}), file=out)


def main(training: Callable[[str], Training] = OfTask) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", required=True)
    parser.add_argument("--splits", required=True, help="JSON: a list of lists of samples per rank")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--block", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    train(training(given.task), json.loads(given.splits), rounds=given.rounds, block=given.block)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

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
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from motley.trainer import tasks
from motley.trainer.contract.spec import DataOptions, RunOptions
from motley.trainer.data.task_data import TaskData


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", required=True)
    parser.add_argument("--splits", required=True, help="JSON: a list of lists of samples per rank")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--block", type=int, default=5)
    given = parser.parse_args()
    splits = json.loads(given.splits)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    task = tasks.load(RunOptions(task=given.task), DataOptions(), lambda *_: None)
    data = TaskData.of(task, seed=0)
    model = DistributedDataParallel(task.model(), broadcast_buffers=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    for number in range(given.rounds * len(splits)):
        split = splits[number % len(splits)]
        total, start = sum(split), sum(split[:rank])
        times: list[float] = []
        ends: list[float] = []
        end = time.perf_counter()
        for _ in range(given.block):
            ids = torch.randint(data.train_size, (total,), generator=generator)[start : start + split[rank]]
            inputs, targets = data.train_batch(ids, 0).content
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs), targets, reduction="sum") * world / total
            torch.autograd.backward(loss)
            optimizer.step()
            now = time.perf_counter()
            times.append((now - end) * 1000)
            ends.append(time.time())
            end = now
        if rank == 0:
            with Path(os.environ["MINIMAL_OUT"]).open("a") as out:
                print(json.dumps({"split": split, "ms": times, "ends": ends}), file=out)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

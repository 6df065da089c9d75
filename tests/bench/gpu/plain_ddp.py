"""What Motley on GPUs is compared with: plain DDP as one writes it by hand, one process for each GPU, equal shares.

`torchrun` starts it. Rank 0 writes one JSON line: {"samples_per_s": the median over the last half of the steps}.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from motley.trainer.devices import accelerator, names
from tests.bench.minimal_ddp import OfTask


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("task", "backend", "out"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("batch", "steps"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    device = torch.device(accelerator.kind(), int(os.environ["LOCAL_RANK"]))
    accelerator.use(device)
    dist.init_process_group(names.group_backends(given.backend))
    rank, world = dist.get_rank(), dist.get_world_size()
    training = OfTask(given.task)
    model = DistributedDataParallel(training.model.to(device), device_ids=accelerator.ddp_ids(device))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    generator, share, times = torch.Generator().manual_seed(0), given.batch // world, []
    for _ in range(given.steps):
        began = time.perf_counter()
        ids = torch.randint(training.train_size, (given.batch,), generator=generator)
        inputs, targets = training.batch(ids[rank * share : (rank + 1) * share])
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs.to(device)), targets.to(device))
        torch.autograd.backward(loss)
        optimizer.step()
        float(loss)  # waits for the device, as a loop does that shows its loss
        times.append(time.perf_counter() - began)
    if rank == 0:
        found = given.batch / median(times[len(times) // 2 :])
        Path(given.out).write_text(json.dumps({"samples_per_s": found}) + "\n")
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)  # now and then the backend's threads abort a Python that ends by itself


if __name__ == "__main__":
    main()

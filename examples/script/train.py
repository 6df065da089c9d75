"""A training script of your own, on every host at once: plain PyTorch, nothing of Motley is imported.

It runs under `torchrun` as well: what it reads from its environment is the same. Each host keeps the newest checkpoint,
so that whichever of them is rank 0 after a restart goes on from there.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--lr", type=float, default=0.1)
    given = parser.parse_args()

    local_rank = int(os.environ["LOCAL_RANK"])
    device = torch.device(f"cuda:{local_rank}" if torch.cuda.is_available() else "cpu")
    dist.init_process_group("gloo")  # MASTER_ADDR, MASTER_PORT, RANK and WORLD_SIZE say where and who
    rank, world = dist.get_rank(), dist.get_world_size()

    torch.manual_seed(0)
    inputs = torch.randn(4096, 16)
    wanted = inputs @ torch.linspace(-1, 1, 16).unsqueeze(1)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 1))
    checkpoint = Path(os.environ.get("MOTLEY_DIR", ".")) / "checkpoint.pt"  # a folder of the run's own on this host
    begin = torch.zeros(1, dtype=torch.long)
    if rank == 0 and checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(kept["model"])
        begin += kept["epoch"] + 1
    dist.broadcast(begin, 0)
    model = model.to(device)
    ddp = DistributedDataParallel(model)  # everybody gets rank 0's parameters
    optimizer = torch.optim.SGD(ddp.parameters(), lr=given.lr)

    for epoch in range(int(begin), given.epochs):
        order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(epoch))
        for batch in order.split(256):
            mine = batch[rank::world]  # as many for every rank: a script shares out its work itself
            loss = nn.functional.mse_loss(ddp(inputs[mine].to(device)), wanted[mine].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if rank == 0:
            print(f"epoch {epoch + 1} of {given.epochs} on {world} ranks: loss {loss.item():.4f}", flush=True)
        if local_rank == 0:
            part = checkpoint.with_suffix(".part")
            torch.save({"model": model.state_dict(), "epoch": epoch}, part)
            part.replace(checkpoint)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

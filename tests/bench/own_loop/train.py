"""The loop of a user's own that the benchmarks of this folder run: a small transformer, 0.16 MB of gradients.

A sample costs about 0.4 ms on a full core. It runs unchanged under Motley and under torchrun, `train.py STEPS BATCH`.
Under torchrun, which writes no metrics, rank 0 tells the end of each step, in seconds since the epoch.
"""

import json
import os
import sys
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import motley

DIGITS, WIDTH = 36, 48


class Adder(nn.Module):
    """Reads DIGITS digits, tells the last digit of the sum of the first three."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, WIDTH)
        self.places = nn.Parameter(torch.zeros(DIGITS, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, nhead=4, dim_feedforward=2 * WIDTH, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, num_layers=2)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, digits: Tensor) -> Any:
        return self.head(self.layers(self.words(digits) + self.places).mean(dim=1))


def numbers(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    digits = torch.randint(0, 10, (count, DIGITS), generator=generator)
    return digits, digits[:, :3].sum(dim=1) % 10


def main() -> None:
    torch.manual_seed(0)
    run = motley.session()
    model = Adder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model, optimizer = run.prepare(model, optimizer)
    steps, batch = map(int, sys.argv[1:3])
    for step in run.steps(numbers(20_000, seed=1), global_batch=batch, steps=steps):
        with step:
            digits, sums = step.batch
            loss = functional.cross_entropy(model(digits), sums, reduction="sum")
            step.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        if step.done and run.rank == 0 and "MINIMAL_OUT" in os.environ:
            with open(os.environ["MINIMAL_OUT"], "a") as out:
                print(json.dumps({"ends": [time.time()]}), file=out)


if __name__ == "__main__":
    main()

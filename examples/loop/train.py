"""A loop of its own: a small transformer learns to add up digits. docs/own-loop.md explains it.

python train.py                        # one process
torchrun --nproc-per-node 2 train.py   # equal shares
"""

import os

import torch
from torch import nn
from torch.nn import functional

import motley

DIGITS, WIDTH = 8, 32


class Adder(nn.Module):
    """Reads DIGITS digits, tells the last digit of their sum."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(10, WIDTH)
        self.places = nn.Parameter(torch.zeros(DIGITS, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, nhead=4, dim_feedforward=2 * WIDTH, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, num_layers=2)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, digits):
        return self.head(self.layers(self.words(digits) + self.places).mean(dim=1))


def numbers(count, seed):
    generator = torch.Generator().manual_seed(seed)
    digits = torch.randint(0, 10, (count, DIGITS), generator=generator)
    return digits, digits[:, :3].sum(dim=1) % 10  # the first three count


def main():
    steps = int(os.environ.get("STEPS", "600"))
    torch.manual_seed(0)
    run = motley.session()
    model = Adder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model, optimizer, schedule = run.prepare(model, optimizer, schedule)

    for step in run.steps(numbers(20_000, seed=1), global_batch=256, steps=steps):
        with step:
            digits, sums = step.batch
            loss = functional.cross_entropy(model(digits), sums, reduction="sum")
            step.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        # These lines run for an attempt that broke, too: a host was lost in it, and the same step comes again.
        if not step.done:
            print(f"step {step.number} broke and comes again with {run.world_size} ranks or fewer", flush=True)
            continue
        schedule.step()
        if step.number % 100 == 0 or step.number == steps:
            accuracy = evaluate(run, model)
            if run.rank == 0:
                print(f"step {step.number}: accuracy {accuracy:.1%}, {run.world_size} ranks", flush=True)


@torch.no_grad()
def evaluate(run, model):
    model.eval()
    right = count = 0
    for digits, sums in run.batches(numbers(2_000, seed=2)):
        right += int((model(digits).argmax(dim=1) == sums).sum())
        count += len(sums)
    model.train()
    return run.mean(right, count)


if __name__ == "__main__":
    main()

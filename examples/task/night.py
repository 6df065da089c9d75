"""A task of one's own: which of two spirals a point lies on. Change it part by part into yours.

Motley asks for a model, for data and for a loss; it has the loop, the optimizer, the checkpoints and the machines.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

import motley


class Spirals(motley.Task):
    @dataclass
    class Options:  # what [task] in cluster.toml may set, as in: width = 96
        points: int = 4000
        width: int = 64

    def model(self):
        width = self.options.width
        return nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2))

    def train_data(self):
        # A tuple of tensors of one length, or a torch Dataset with __len__ and __getitem__.
        return spirals(self.options.points, seed=0)

    def test_data(self):
        # What to evaluate on after every epoch. Leave it out, and there is no evaluation.
        return spirals(1000, seed=1)

    def loss(self, outputs, targets):
        # The mean over the samples, as torch's losses give it.
        return functional.cross_entropy(outputs, targets)

    def metrics(self, outputs, targets):
        # Of the test data. `accuracy` is what the console shows.
        return {"accuracy": outputs.argmax(dim=1) == targets}

    def metadata(self):
        # What whoever uses the model has to know: `motley export` writes it beside the weights.
        return {"classes": ["first", "second"]}


def spirals(count, seed):
    """Points [count, 2] and which of the two spirals each is from, int64 [count]."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.rand(count, generator=generator).sqrt() * 9
    kind = torch.arange(count) % 2
    angle = turn + torch.pi * kind
    points = torch.stack([turn * angle.cos(), turn * angle.sin()], dim=1) / 5
    return points + 0.02 * torch.randn(count, 2, generator=generator), kind

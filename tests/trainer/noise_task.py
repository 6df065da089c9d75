"""A small task of random numbers in float64, whose labels follow from its inputs: for tests with real ranks.

A test gives it a name and a model:

>>> class Mine(NoiseTask):
...     name = "mlp/noise"
...     def model(self): return nn.Linear(6, 4).double()
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NoiseTask:
    name: str
    classes, train_size, test_size = 4, 96, 12

    def model(self) -> nn.Module:
        raise NotImplementedError

    def train_batch(self, ids: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(epoch)
        inputs = torch.randn(self.train_size, 6, generator=generator, dtype=torch.float64)
        return inputs[ids], (inputs.sum(dim=1).abs() * 2).long()[ids] % 4

    def test_batch(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        return self.train_batch(torch.arange(start, stop), 0)

    def loss_sum(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets, reduction="sum")

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(dim=1) == targets).sum()

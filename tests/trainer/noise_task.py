"""A small task of random numbers in float64, whose labels follow from its inputs: for tests with real ranks.

A test gives it a name and a model:

>>> class Mine(NoiseTask):
...     name = "mlp/noise"
...     def model(self): return nn.Linear(6, 4).double()
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from motley.trainer.tasks.task import Task


class NoiseTask(Task):
    def train_data(self) -> tuple[Tensor, Tensor]:
        inputs = torch.randn(96, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        return inputs, (inputs.sum(dim=1).abs() * 2).long() % 4

    def test_data(self) -> tuple[Tensor, Tensor]:
        inputs, labels = self.train_data()
        return inputs[:12], labels[:12]

    def augment(self, batch: tuple[Tensor, Tensor], bits: Tensor) -> tuple[Tensor, Tensor]:
        """Every epoch shows a sample otherwise."""
        return batch[0] + 0.1 * torch.sin(bits.double() % 1000)[:, None], batch[1]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets)

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {"accuracy": outputs.argmax(dim=1) == targets}

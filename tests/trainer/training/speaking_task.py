"""A task that counts tokens, tells what follows from its loss and has its model say something: `Task.units`, `figures`,
`answers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from motley.trainer.tasks.task import Task

COUNT = 48
LENGTHS = torch.arange(COUNT) % 7 + 1  # of sample n


class Speaking(Task):
    """Fits a line, with dropout. `says`: what `answers` is to give, or to raise."""

    name = "speaking"
    says: Any = (("what is 2?", "about 4"),)
    seen: Any = None  # what `answers` has found

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.5), nn.Linear(5, 1))

    def train_data(self) -> Any:
        inputs = torch.arange(COUNT * 3, dtype=torch.float32).reshape(COUNT, 3) / (COUNT * 3)
        return inputs, inputs.sum(dim=1, keepdim=True)

    def test_data(self) -> Any:
        inputs, targets = self.train_data()
        return inputs[:8], targets[:8]

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        return functional.mse_loss(outputs, targets)

    def units(self) -> tuple[str, Tensor] | None:
        return "tokens", LENGTHS

    def figures(self, loss: float) -> Mapping[str, float]:
        return {"doubled": 2 * loss, "loss": -1.0}

    def answers(self, model: nn.Module) -> Sequence[tuple[str, str]]:
        self.seen = (any(part.training for part in model.modules()), torch.is_grad_enabled(), torch.rand(1).item())
        if isinstance(self.says, Exception):
            raise self.says
        found: Sequence[tuple[str, str]] = self.says
        return found

"""A task as a test takes it apart, for a training written out plainly: its batches, its summed loss, what it has right.

>>> task = WrittenOut(load(options, data, note))
>>> inputs, targets = task.train_batch(torch.tensor([7, 3]), epoch=2)
>>> task.loss_sum(model(inputs), targets) / 2
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from motley.trainer.data.task_data import TaskData
from motley.trainer.tasks.task import Task
from motley.trainer.tasks.task_loss import summed


class WrittenOut:
    def __init__(self, task: Task, *, seed: int = 0) -> None:
        self.task = task
        self.data = TaskData.of(task, seed=seed)
        self.train_size, self.test_size = self.data.train_size, self.data.test_size

    def model(self) -> nn.Module:
        return self.task.model()

    def train_batch(self, ids: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        inputs, targets = self.data.train_batch(ids, epoch).content
        return inputs, targets

    def test_batch(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        inputs, targets = self.data.test_batch(start, stop).content
        return inputs, targets

    def loss_sum(self, outputs: Tensor, targets: Any) -> Tensor:
        return summed(self.task, self.task.loss(outputs, targets), (outputs, targets), len(targets), outputs)

    def correct(self, outputs: Tensor, targets: Tensor) -> int:
        return int(self.task.metrics(outputs, targets)["accuracy"].sum())

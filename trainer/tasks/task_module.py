"""A task's model and its `forward` as one module: so DDP sees every call, and the task's code sees its own model.

>>> module = TaskModule(task, model)
>>> module(batch)                    # task.forward(model, batch)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from motley.trainer.errors import TaskError
from motley.trainer.tasks.task import Task
from motley.trainer.tasks.user_code import user_code, written_at


class TaskModule(nn.Module):
    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._task = task

    def forward(self, content: Any) -> Any:
        return self._task.forward(self.model, content)


def new_model(task: Task) -> nn.Module:
    """The task's model, on the CPU. Raises TaskError for what is none, or has nothing to learn."""
    where = written_at(task.model, task.project)
    with user_code(task.project):
        model: object = task.model()
    if not isinstance(model, nn.Module):
        raise TaskError(f"{where} gives a {type(model).__name__}", "Give an nn.Module")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TaskError(f"{where} gives a model without a parameter that learns", "Leave requires_grad on for some")
    return model


def placed(task: Task, model: nn.Module, devices: Sequence[torch.device]) -> nn.Module:
    """The model on this rank's device, or on its several cards. Raises TaskError where what is trained is on another
    than the first."""
    first, *others = devices
    if not others:
        return model.to(first)
    with user_code(task.project):
        task.spread(model, devices)
    trained = [(name, weight.device) for name, weight in model.named_parameters() if weight.requires_grad]
    if away := next(((name, device) for name, device in trained if device in others), None):
        cause = f"{written_at(task.spread, task.project)} puts {away[0]}, which is trained, on {away[1]}"
        raise TaskError(cause, f"Leave it on the first card, {first}")
    return model


def own_optimizer(task: Task, model: nn.Module) -> torch.optim.Optimizer | None:
    """The one that the task brings, or None. Raises TaskError for what is none."""
    with user_code(task.project):
        optimizer: object = task.optimizer(model)
    if optimizer is not None and not isinstance(optimizer, torch.optim.Optimizer):
        where, given = written_at(task.optimizer, task.project), type(optimizer).__name__
        raise TaskError(f"{where} gives a {given}", "Give a torch.optim.Optimizer, or None")
    return optimizer

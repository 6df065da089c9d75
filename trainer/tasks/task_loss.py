"""What a task's own loss and metrics come to, as sums over the samples: so parts of a batch add up, however it is cut.

>>> summed_loss(task, module, batch.content, batch.size)     # the mean over 256 samples, times 256
tensor(580.3, grad_fn=<MulBackward0>)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from motley.trainer.errors import TaskError
from motley.trainer.tasks.task import Task, targets_of
from motley.trainer.tasks.user_code import user_code, written_at

_SUM = 2  # torch's number of reduction="sum", as its losses keep it for autograd


def weight(task: Task, content: Any, size: int) -> int:
    """What the mean loss over a batch is a mean of: its samples, unless the task counts otherwise."""
    counted = task.count(targets_of(content))
    return size if counted is None else counted


def summed_loss(task: Task, module: nn.Module, content: Any, size: int) -> Tensor:
    """The loss of a batch on the model's device, summed over what its mean is a mean of: a scalar.

    `module`: a `TaskModule`, or what wraps one. Raises TaskError for what is no loss.
    """
    outputs = module(content)
    with user_code(task.project):
        loss = task.loss(outputs, targets_of(content))
    return summed(task, loss, content, size)


def evaluated(task: Task, module: nn.Module, content: Any, size: int) -> tuple[Tensor, dict[str, Tensor]]:
    """The summed loss of a batch, and its metrics, each summed as the loss is."""
    outputs, targets = module(content), targets_of(content)
    with user_code(task.project):
        found = task.loss(outputs, targets), task.metrics(outputs, targets)
    loss, metrics = summed(task, found[0], content, size), {}
    for name, value in found[1].items():
        figure = torch.as_tensor(value).double()  # a plain number will do
        metrics[name] = figure * weight(task, content, size) if figure.dim() == 0 else figure.sum()
    return loss, metrics


def summed(task: Task, loss: object, content: Any, size: int) -> Tensor:
    where = written_at(task.loss, task.project)
    if not isinstance(loss, Tensor):
        raise TaskError(f"{where} gives a {type(loss).__name__}", "Give a tensor: the mean loss")
    if loss.dtype in (torch.float16, torch.bfloat16):  # a sum of many would be rounded away
        loss = loss.float()
    if loss.dim() == 0:
        if getattr(loss.grad_fn, "_saved_reduction", None) == _SUM:
            raise TaskError(
                f"{where} gives a sum over the samples, which would count each of them as many times",
                'Give the mean: leave reduction="sum" out',
            )
        return loss * weight(task, content, size)
    if loss.dim() == 1 and len(loss) == size:
        return loss.sum()
    raise TaskError(
        f"{where} gives a tensor of shape {tuple(loss.shape)} for {size} samples",
        "Give the mean over the samples, or one value for each of them",
    )

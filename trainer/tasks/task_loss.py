"""What a task's own loss and metrics come to, as sums over the samples: so parts of a batch add up, however it is cut.

>>> summed_loss(task, module, batch.content, batch.size)     # the mean over 256 samples, times 256
tensor(580.3, grad_fn=<MulBackward0>)
"""

from __future__ import annotations

from collections.abc import Mapping
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
    return summed(task, loss, content, size, outputs)


def evaluated(task: Task, module: nn.Module, content: Any, size: int) -> tuple[Tensor, dict[str, Tensor]]:
    """The summed loss of a batch, and its metrics, each summed as the loss is."""
    outputs, targets = module(content), targets_of(content)
    with user_code(task.project):
        found = task.loss(outputs, targets), task.metrics(outputs, targets)
    loss, metrics = summed(task, found[0], content, size, outputs), {}
    counted = weight(task, content, size)
    for name, value in found[1].items():
        figure = torch.as_tensor(value).double()  # a plain number will do
        whole = figure * counted if figure.dim() == 0 else figure.sum()
        metrics[name] = whole if counted or whole.isfinite() else torch.zeros_like(whole)
    return loss, metrics


def summed(task: Task, loss: object, content: Any, size: int, outputs: Any) -> Tensor:
    """Where nothing counts a mean is 0 / 0: what it comes to is 0 then, and every gradient is."""
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
        counted = weight(task, content, size)
        if counted or loss.isfinite():
            return loss * counted
        zero = _zero(outputs)
        return zero if zero.requires_grad or not loss.requires_grad else loss * counted
    if loss.dim() == 1 and len(loss) == size:
        return loss.sum()
    raise TaskError(
        f"{where} gives a tensor of shape {tuple(loss.shape)} for {size} samples",
        "Give the mean over the samples, or one value for each of them",
    )


def _zero(outputs: Any) -> Tensor:
    """A gradient of zero goes to all that the outputs come from: tensors, or tables, lists and tuples of them."""
    if isinstance(outputs, Tensor):
        whole = outputs.is_floating_point()
        return torch.nan_to_num(outputs.float() * 0.0, nan=0.0).sum() if whole else torch.zeros(())
    inner = outputs.values() if isinstance(outputs, Mapping) else outputs if isinstance(outputs, (list, tuple)) else ()
    return sum(map(_zero, inner), start=torch.zeros(()))

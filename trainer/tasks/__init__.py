"""What is trained: a `Task` is a model, its data and its loss. `run.task` names one as "model/dataset".

The loop calls `load` once; any model goes with any data set. `trainer.contract.spec` has the names, for those without
torch.

    >>> task = load(RunOptions(task="simple_cnn/digits"), DataOptions(), note)
    >>> task.train_size, task.test_size, task.classes
    (1500, 297, 10)
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from motley.trainer.contract.spec import DATASETS, MODELS, DataOptions, RunOptions, check_task
from motley.trainer.errors import TaskError
from motley.trainer.tasks.datasets import image_data
from motley.trainer.tasks.download import Note
from motley.trainer.tasks.vision import ImageTask


class Task(Protocol):
    """Everything about a training that the loop leaves open. All tensors it gives are on the CPU."""

    @property
    def name(self) -> str: ...

    @property
    def classes(self) -> int: ...

    @property
    def train_size(self) -> int: ...

    @property
    def test_size(self) -> int: ...

    def model(self) -> nn.Module:
        """A new model on the CPU. Its weights depend on the seed alone, so they are the same on every rank."""
        ...

    def train_batch(self, ids: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the samples `ids`, int64 [n], augmented by (seed, epoch, sample): n may be 0."""
        ...

    def test_batch(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the test samples from `start` to before `stop`, not augmented."""
        ...

    def loss_sum(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss, summed over the samples: its mean over the global batch is what the run reports."""
        ...

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """How many of the outputs are right: an int64 scalar on their device."""
        ...


@runtime_checkable
class CountsTargets(Protocol):
    """A `Task` whose loss is a mean over something else than samples, such as the tokens that are not masked."""

    def count(self, targets: Tensor) -> int:
        """How many of them there are in `targets`: what `loss_sum` sums over, and `correct` counts in."""
        ...


def count(task: Task, targets: Tensor) -> int:
    """What the mean loss over `targets` is a mean of: samples, unless the task counts otherwise."""
    return task.count(targets) if isinstance(task, CountsTargets) else len(targets)


def names() -> tuple[str, ...]:
    """Every task there is."""
    return tuple(f"{model}/{data}" for model in MODELS for data in DATASETS)


def load(options: RunOptions, data: DataOptions, note: Note) -> Task:
    """The task that `options` names, its data read, downloaded first where need be; `note` hears of the progress.

    Raises TaskError when there is no such task, DataError when its data can't be had.
    """
    try:
        check_task(options.task)
    except ValueError as error:
        raise TaskError(str(error), "Set [run] task to one of these") from error
    model, _, dataset = options.task.partition("/")
    return ImageTask(
        name=options.task,
        model_name=model,
        data=image_data(dataset, options, data, note),
        norm=options.norm,
        dropout=options.dropout,
        seed=options.seed,
        dtype=getattr(torch, options.dtype),
    )

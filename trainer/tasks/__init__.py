"""What is trained: a `Task` is a model, its data and its loss (`task`). `run.task` names one as "model/dataset", or a
class of the user's own (`own_task`).

`trainer.contract.task_name` has the names, for those without torch; any model goes with any data set.

    >>> task = load(RunOptions(task="simple_cnn/digits"), DataOptions(), note)
    >>> task.model()
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from motley.trainer.contract.spec import DataOptions, RunOptions
from motley.trainer.contract.task_name import DATASETS, MODELS, BuiltIn, OwnTask, parse
from motley.trainer.errors import TaskError
from motley.trainer.tasks.datasets import image_data
from motley.trainer.tasks.download import Note
from motley.trainer.tasks.own_task import load_own, on_one_card_alone
from motley.trainer.tasks.task import Task
from motley.trainer.tasks.vision import ImageTask


def names() -> tuple[str, ...]:
    """Every task that comes with Motley."""
    return tuple(f"{model}/{data}" for model in MODELS for data in DATASETS)


def load(
    options: RunOptions,
    data: DataOptions,
    note: Note,
    own: OwnTask | None = None,
    *,
    device: torch.device | None = None,
    beside: Sequence[torch.device] = (),
) -> Task:
    """The task that `options` names, its data read, downloaded first where need be; `note` hears of the progress.

    `own`: where it is, when it is the user's, or has parameters. `device`: that it is trained on; None: it is only
    asked about. `beside`: further cards of the same rank. Raises TaskError when there is no such task, or it can't be
    trained on several cards, DataError when its data can't be had.
    """
    if own is not None:
        return load_own(own, options.task, data.path, run=options, device=device, beside=beside, note=note)
    if beside:
        raise on_one_card_alone(options.task)
    try:
        named = parse(options.task)
    except ValueError as error:
        raise TaskError(str(error), "Set [run] task to one of these") from error
    if not isinstance(named, BuiltIn):
        raise TaskError(f"task {options.task!r}: its file was not sent with the run", "Start the run again")
    return ImageTask(
        name=options.task,
        model_name=named.model,
        data=image_data(named.dataset, options, data, note),
        norm=options.norm,
        dropout=options.dropout,
        seed=options.seed,
        dtype=getattr(torch, options.dtype),
    )

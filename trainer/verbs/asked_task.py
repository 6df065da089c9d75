"""The task and its data that a `Calibration` asks for. Imports torch.

>>> task_of(asked, say).name
'simple_cnn/digits'
"""

from __future__ import annotations

from pathlib import Path

import torch

from motley.trainer import tasks
from motley.trainer.contract.calibration import Calibration
from motley.trainer.data.loading import Loading
from motley.trainer.data.task_data import TaskData
from motley.trainer.devices.names import cards_of
from motley.trainer.host.paths import project_folder
from motley.trainer.tasks.data_location import keep_open
from motley.trainer.tasks.task import Task
from motley.trainer.verbs.attended_child import Say


def task_of(asked: Calibration, say: Say) -> Task:
    """The task, its parameters checked; of one that comes with Motley the data is read too, which `say` hears of.

    Raises TaskError, DataError.
    """
    if asked.data.path:
        keep_open(Path(asked.data.path).expanduser())
    own = asked.own_task
    if own is not None and own.tree:
        keep_open(project_folder(own.tree))

    def note(text: str, part: float | None) -> None:
        say({"note": text, "fraction": part})

    device, *beside = map(torch.device, cards_of(asked.device))
    return tasks.load(asked.options, asked.data, note, own, device=device, beside=beside)


def data_of(asked: Calibration, task: Task, device: torch.device, say: Say) -> TaskData:
    """Its batches, fetched as a rank's are. Raises DataError."""
    loading = Loading(
        workers=asked.data.workers, device=device, local_ranks=asked.devices, note=lambda text, _: say({"note": text})
    )
    return TaskData.of(task, seed=asked.options.seed, loading=loading)

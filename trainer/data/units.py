"""What a task counts besides samples, such as tokens: how much of it each sample of the training data has.

>>> units = units_of(task, samples=1500)     # of `Task.units`; None where it counts nothing else
>>> units.name, units.of(torch.tensor([7, 3]))
('tokens', 611)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from motley.trainer.errors import TaskError
from motley.trainer.tasks.task import Task
from motley.trainer.tasks.user_code import user_code, written_at

NAME = re.compile(r"[a-z][a-z0-9_]{0,15}")
WHOLE = (torch.int64, torch.int32, torch.int16, torch.uint8)
TAKEN = ("samples", "steps")  # that everything is told in anyway
LIKE = 'Give a name and how many each sample has: ("tokens", lengths), lengths int64 [samples]'


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """`counts`: int64 [samples], on the CPU."""

    name: str
    counts: Tensor

    def of(self, ids: Tensor) -> int:
        """How many the samples `ids`, int64 [n], have together."""
        return int(self.counts[ids].sum())


def units_of(task: Task, samples: int) -> Units | None:
    """What the task counts of its training data, which has so many samples. Raises TaskError for what is no count."""
    with user_code(task.project):
        told: Any = task.units()
    if told is None:
        return None
    where = written_at(task.units, task.project)
    if not (isinstance(told, tuple) and len(told) == 2):
        raise TaskError(f"{where} gives a {type(told).__name__}", LIKE)
    name, counts = told
    if not isinstance(name, str) or NAME.fullmatch(name) is None or name in TAKEN:
        raise TaskError(
            f"{where} names its unit {name!r}"[:200],
            f"Give a short plural in small letters, such as tokens; not {' or '.join(TAKEN)}",
        )
    if not isinstance(counts, Tensor) or counts.shape != (samples,) or counts.dtype not in WHOLE:
        shape = f"{counts.dtype}, {tuple(counts.shape)}" if isinstance(counts, Tensor) else type(counts).__name__
        raise TaskError(f"{where} gives counts that are {shape} for {samples} samples", LIKE)
    counts = counts.detach().to("cpu", torch.int64)
    if bool((counts < 0).any()):
        raise TaskError(f"{where} counts fewer than no {name} in a sample", LIKE)
    return Units(name, counts)

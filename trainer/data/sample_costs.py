"""What a task says of each sample of its training data besides the sample: what it costs, and how long it is.

>>> work_of(task, samples=3)            # rows of 100, 2,048 and 100 tokens
tensor([  319600, 10534912,   319600])

Every host computes who takes which sample from these numbers, so they must be the same everywhere: their hash is part
of the data's fingerprint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

from motley.trainer.data.sample_bytes import memory_of
from motley.trainer.errors import DataError
from motley.trainer.tasks.task import Task
from motley.trainer.tasks.user_code import user_code, written_at

_MOST = 2**62  # that a step's samples may add up to without an overflow


def work_of(task: Task, samples: int) -> Tensor | None:
    """`Task.work`: int64 [samples], each at least 1; None where all samples cost alike. Raises DataError for what is
    not that."""
    return _numbers(task, task.work, samples)


def lengths_of(task: Task, samples: int) -> Tensor | None:
    """`Task.lengths`, likewise: None where samples are not padded to the longest of a pass."""
    return _numbers(task, task.lengths, samples)


def hash_of(*given: Tensor | None) -> str:
    """Of all of them; empty where there are none."""
    if all(numbers is None for numbers in given):
        return ""
    digest = hashlib.sha256()
    for numbers in given:
        digest.update(b"none;" if numbers is None else memory_of(numbers))
    return digest.hexdigest()


def typical(work: Tensor, samples: int, turn: int) -> Tensor:
    """So many samples of all kinds, whose work together is as near to that of mean ones as can be: int64 [samples].

    Others in each turn, the same on every host: for steps that are measured without a run.
    """
    ranked, order = torch.sort(work, stable=True)
    count = len(work)
    places = [(8 * number + 5 * turn % 8) * count // (8 * samples) for number in range(samples)]
    target = int(work.sum()) * samples // count
    odd = samples // 2  # this one makes up for what the others have too much, or too little
    rest = sum(int(ranked[place]) for number, place in enumerate(places) if number != odd)
    places[odd] = min(int(torch.searchsorted(ranked, max(1, target - rest))), count - 1)
    return order[torch.tensor(places)]


def _numbers(task: Task, method: Callable[[], Tensor | None], samples: int) -> Tensor | None:
    where = written_at(method, task.project)
    with user_code(task.project):
        found: object = method()
    if found is None:
        return None
    one_each = f"Give a tensor of int64 with one number for each of the {samples:,} samples of train_data"
    if not isinstance(found, Tensor):
        raise DataError(f"{where} gives a {type(found).__name__}", one_each)
    if tuple(found.shape) != (samples,):
        raise DataError(f"{where} gives a tensor of shape {tuple(found.shape)} for {samples:,} samples", one_each)
    if found.dtype.is_floating_point or found.dtype.is_complex or found.dtype == torch.bool:
        dtype = str(found.dtype).removeprefix("torch.")
        raise DataError(f"{where} gives numbers of {dtype}, which machines round differently", one_each)
    numbers = found.detach().to("cpu", torch.int64).contiguous()
    if int(numbers.min()) < 1:
        at = int(numbers.argmin())
        raise DataError(f"{where} gives {int(numbers[at])} for sample {at}", "Give each sample at least 1")
    if int(numbers.max()) > _MOST // samples:
        at = int(numbers.argmax())
        raise DataError(
            f"{where} gives {int(numbers[at]):,} for sample {at}: all of them together are too much for 64 bits",
            "Say it in a larger unit: any will do",
        )
    return numbers

"""One call of `run.steps`: which samples come when, and how far the run is.

>>> loop = LoopPlan.of(dataset, global_batch=256, epochs=10, steps=None, collate=default_collate, seed=0, ranks=4)
>>> loop.batches.place(0).epoch, loop.steps_total, loop.step
(0, 1960, 0)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from motley.trainer.api.misuse import here, misuse, project
from motley.trainer.contract.data_fingerprint import DataFingerprint
from motley.trainer.data.batch import Batch
from motley.trainer.data.fetch import Source, source_of
from motley.trainer.data.fingerprint import fingerprint
from motley.trainer.errors import DataError
from motley.trainer.tasks.splitmix import key
from motley.trainer.tasks.user_code import user_code
from motley.trainer.training.sampler import BatchSampler

Collate = Callable[[Sequence[Any]], Any]
_SAMPLE = 6  # the purpose of a key, as in `trainer.data.task_data`


def collated(samples: Sequence[Any]) -> Any:
    """A batch as torch's DataLoader makes it."""
    return default_collate(list(samples))


@dataclass(slots=True, eq=False)
class LoopPlan:
    source: Source
    batches: BatchSampler
    steps_total: int
    step: int = 0  # completed
    ended: bool = False  # somebody has left: nobody goes on

    @classmethod
    def of(
        cls,
        dataset: Any,
        *,
        global_batch: int,
        epochs: int | None,
        steps: int | None,
        collate: Collate,
        seed: int,
        ranks: int,
    ) -> LoopPlan:
        """Raises SessionError with the line that called."""
        source = source_named(dataset, collate, "run.steps")
        if steps is not None and epochs is not None:
            raise misuse("run.steps has both epochs and steps", "Say one of the two")
        for name, value in (("global_batch", global_batch), ("epochs", epochs), ("steps", steps)):
            if value is not None and value < 1:
                raise misuse(f"run.steps: {name} is {value}", "Say at least 1")
        if len(source) < ranks:
            raise misuse(
                f"run.steps: the dataset has {len(source)} samples for {ranks} ranks", "Look at the path it reads from"
            )
        batches = BatchSampler(count=len(source), global_batch=global_batch, seed=seed)
        total = steps if steps is not None else (epochs or 1) * batches.steps_per_epoch
        return cls(source=source, batches=batches, steps_total=total)

    @property
    def over(self) -> bool:
        return self.ended or self.step >= self.steps_total

    def fingerprint(self) -> DataFingerprint:
        """Of the dataset, with the line of the user's that is being run. Raises TaskError as drawing samples does."""
        with user_code(project()):
            return dataclasses.replace(fingerprint(self.source), at=here())

    def take(self, ids: Tensor, epoch: int, device: torch.device) -> Any:
        """The batch of these samples, int64 [n], n at least 1, as this epoch is to see them, on the device."""
        with user_code(project()):
            content = self.source.take(ids, key(self.batches.seed, epoch, _SAMPLE))
        return Batch(content, len(ids)).to(device).content


def source_named(dataset: Any, collate: Collate, called: str) -> Source:
    """Raises SessionError, with the line that called, for what has no samples by number."""
    try:
        source = source_of(dataset, collate, "the dataset")
    except DataError as error:
        raise misuse(f"{called}: {error.cause}", error.remedy) from error
    if not len(source):
        raise misuse(f"{called}: the dataset has no samples", "Look at the path it reads from")
    return source

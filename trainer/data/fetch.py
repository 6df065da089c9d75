"""Samples by number, out of whatever a task calls its data: tensors, a Dataset, or what gives whole batches at once.

>>> source = source_of((images, labels), task.collate, "train_data")
>>> source.take(torch.tensor([7, 3]), seed=0)
(tensor(...), tensor([2, 9]))
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from motley.trainer.errors import DataError
from motley.trainer.tasks.splitmix import hashed


class Source(Protocol):
    """A numbered set of samples."""

    def __len__(self) -> int: ...

    def take(self, ids: Tensor, seed: int) -> Any:
        """A batch of the samples `ids`, int64 [n], n at least 1. `seed` and a sample's number decide on the random
        numbers that it finds."""
        ...


@runtime_checkable
class GivesBatches(Protocol):
    """A data set of Motley's own: it gives a batch at once, and draws no random numbers."""

    def __len__(self) -> int: ...

    def take(self, ids: Tensor, /) -> Any: ...


class TensorSource:
    """Rows of tensors. One tensor alone is a batch by itself."""

    def __init__(self, tensors: Sequence[Tensor], *, single: bool) -> None:
        self._tensors = tuple(tensors)
        self._single = single

    def __len__(self) -> int:
        return len(self._tensors[0])

    def take(self, ids: Tensor, seed: int) -> Any:
        del seed
        rows = tuple(tensor[ids] for tensor in self._tensors)
        return rows[0] if self._single else rows


class WholeSource:
    """Of `GivesBatches`."""

    def __init__(self, data: GivesBatches) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def take(self, ids: Tensor, seed: int) -> Any:
        del seed
        return self._data.take(ids)


class DatasetSource:
    """Of a map-style Dataset: sample by sample."""

    def __init__(self, dataset: Any, collate: Callable[[Sequence[Any]], Any], length: int) -> None:
        self._dataset = dataset
        self._collate = collate
        self._length = length

    def __len__(self) -> int:
        return self._length

    def take(self, ids: Tensor, seed: int) -> Any:
        samples = []
        for number, own in zip(ids.tolist(), hashed(ids, seed).tolist()):
            seed_all(own)
            samples.append(self._dataset[number])
        return self._collate(samples)


def seed_all(seed: int) -> None:
    """The random numbers of torch, random and numpy, where somebody has imported it."""
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed & 0xFFFFFFFF)


def source_of(data: Any, collate: Callable[[Sequence[Any]], Any], what: str) -> Source:
    """`what`: the method that gave the data, for errors. Raises DataError when it can't be drawn from by number."""
    tensors = [data] if isinstance(data, Tensor) else list(data) if isinstance(data, tuple) else []
    if tensors and all(isinstance(tensor, Tensor) for tensor in tensors):
        lengths = sorted({len(tensor) for tensor in tensors})
        if len(lengths) > 1:
            raise DataError(
                f"{what} gives tensors of {' and '.join(map(str, lengths))} samples", "All must have the same length"
            )
        return TensorSource(tensors, single=isinstance(data, Tensor))
    if isinstance(data, GivesBatches):
        return WholeSource(data)
    if not hasattr(data, "__getitem__"):
        raise DataError(
            f"{what} gives {_kind(data)}, whose samples have no numbers",
            "Give a tuple of tensors, or a Dataset with __len__ and __getitem__; an IterableDataset has no numbers",
        )
    try:
        length = len(data)
    except TypeError as error:
        raise DataError(f"{what} gives {_kind(data)} of no length", "Give it a __len__") from error
    return DatasetSource(data, collate, length)


def _kind(data: Any) -> str:
    return "None" if data is None else f"a {type(data).__name__}"

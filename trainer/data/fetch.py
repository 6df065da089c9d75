"""Samples by number, out of whatever a task calls its data: tensors, a Dataset, or what gives whole batches at once.

>>> source = source_of((images, labels), task.collate, "train_data")
>>> source.take(torch.tensor([7, 3]), seed=0)
(tensor(...), tensor([2, 9]))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from motley.trainer.data.seeded_sample import sample_of, seed_all
from motley.trainer.data.worker import Sample
from motley.trainer.data.worker_pool import WorkerPool
from motley.trainer.errors import DataError
from motley.trainer.tasks.splitmix import hashed, key

Ahead = tuple[Tensor, int]  # samples and a seed, as `take` is asked for
_COLLATE = 7  # the purpose of a key


class Source(Protocol):
    """A numbered set of samples."""

    def __len__(self) -> int: ...

    @property
    def looks_ahead(self) -> bool:
        """Whether it is of use to say what will be asked for next."""
        ...

    def take(self, ids: Tensor, seed: int, then: Sequence[Ahead] = ()) -> Any:
        """A batch of the samples `ids`, int64 [n], n at least 1. `seed` and a sample's number decide on the random
        numbers that it finds. `then`: what will be asked for next, most likely."""
        ...

    def sample(self, number: int, seed: int) -> Any:
        """One sample by itself, as it is before it is put into a batch."""
        ...


@runtime_checkable
class GivesBatches(Protocol):
    """A data set of Motley's own: it gives a batch at once, and draws no random numbers."""

    def __len__(self) -> int: ...

    def take(self, ids: Tensor, /) -> Any: ...


class TensorSource:
    """Rows of tensors. One tensor alone is a batch by itself."""

    looks_ahead = False

    def __init__(self, tensors: Sequence[Tensor], *, single: bool) -> None:
        self._tensors = tuple(tensors)
        self._single = single

    def __len__(self) -> int:
        return len(self._tensors[0])

    def take(self, ids: Tensor, seed: int, then: Sequence[Ahead] = ()) -> Any:
        del seed, then
        rows = tuple(tensor[ids] for tensor in self._tensors)
        return rows[0] if self._single else rows

    def sample(self, number: int, seed: int) -> Any:
        del seed
        return tuple(tensor[number] for tensor in self._tensors)


class WholeSource:
    """Of `GivesBatches`."""

    looks_ahead = False

    def __init__(self, data: GivesBatches) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def take(self, ids: Tensor, seed: int, then: Sequence[Ahead] = ()) -> Any:
        del seed, then
        return self._data.take(ids)

    def sample(self, number: int, seed: int) -> Any:
        del seed
        return self._data.take(torch.tensor([number]))


class DatasetSource:
    """Of a map-style Dataset: sample by sample, in this process or in workers."""

    def __init__(self, dataset: Any, collate: Callable[[Sequence[Any]], Any], length: int) -> None:
        self.dataset = dataset
        self._collate = collate
        self._length = length
        self._part = ""
        self._pool: WorkerPool | None = None

    def __len__(self) -> int:
        return self._length

    def work_with(self, pool: WorkerPool, part: str) -> None:
        """From now on `pool` fetches the samples; it has the Dataset under the name `part`."""
        self._pool, self._part = pool, part

    @property
    def looks_ahead(self) -> bool:
        return self._pool is not None

    def take(self, ids: Tensor, seed: int, then: Sequence[Ahead] = ()) -> Any:
        now = self._samples(ids, seed)
        if self._pool is None:
            found = [sample_of(self.dataset, sample.number, sample.seed) for sample in now]
        else:
            found = self._pool.take(now, [sample for ahead in then for sample in self._samples(*ahead)])
        seed_all(key(now[0].seed, _COLLATE))  # whoever has fetched them, and however many: collate finds the same
        return self._collate(found)

    def sample(self, number: int, seed: int) -> Any:
        (one,) = self._samples(torch.tensor([number]), seed)
        return self._pool.take([one])[0] if self._pool else sample_of(self.dataset, one.number, one.seed)

    def _samples(self, ids: Tensor, seed: int) -> list[Sample]:
        return [Sample(self._part, number, own) for number, own in zip(ids.tolist(), hashed(ids, seed).tolist())]


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

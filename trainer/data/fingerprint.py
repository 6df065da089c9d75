"""The fingerprint of training data: its length, and a hash of eight samples at fixed numbers under a fixed seed.

>>> fingerprint(source_of((images, labels), default_collate, "train_data"))
DataFingerprint(length=1500, exact='9f86d08188…', …)

Samples may hold tensors, arrays, pictures of Pillow, numbers, text, and any nesting of them. What is none of these
counts by its class and its attributes. The random numbers of this process are as before afterwards.
"""

from __future__ import annotations

import hashlib
import math
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from motley.trainer.contract.data_fingerprint import DataFingerprint
from motley.trainer.data.fetch import DatasetSource, Source
from motley.trainer.data.sample_bytes import memory_of
from motley.trainer.tasks.image_folder.data_set import FolderPictures
from motley.trainer.tasks.splitmix import hashed

SAMPLES = 8
VALUES = 16  # of a tensor, at equal distances
TENSORS = 32  # of which values are kept
DEPTH = 8  # of a nesting
_SEED = 20_110


def fingerprint(source: Source) -> DataFingerprint:
    """Draws eight samples, or as many as there are. Raises what drawing them raises."""
    length = len(source)
    chosen = (hashed(torch.arange(SAMPLES - 2), _SEED) % length).tolist()
    found = _Fingerprint()
    with _random_state_kept():
        for number in dict.fromkeys((0, length - 1, *chosen)):
            found.add(source.sample(number, _SEED))
    return DataFingerprint(
        length=length, exact=found.exact.hexdigest(), kind=found.kind.hexdigest(), values=tuple(found.values),
        listing=_listing(source),
    )  # fmt: skip


def _listing(source: Source) -> str:
    dataset = source.dataset if isinstance(source, DatasetSource) else None
    return dataset.listing() if isinstance(dataset, FolderPictures) else ""


@contextmanager
def _random_state_kept() -> Iterator[None]:
    numpy = sys.modules.get("numpy")
    kept = torch.get_rng_state(), random.getstate(), numpy.random.get_state() if numpy else None
    try:
        yield
    finally:
        torch.set_rng_state(kept[0])
        random.setstate(kept[1])
        if numpy is not None and kept[2] is not None:
            numpy.random.set_state(kept[2])


class _Fingerprint:
    def __init__(self) -> None:
        self.exact, self.kind = hashlib.sha256(), hashlib.sha256()
        self.values: list[tuple[float, ...]] = []

    def add(self, value: Any, depth: int = 0) -> None:
        if isinstance(value, Tensor):
            self._add_tensor(value)
        elif isinstance(value, (bool, int, str, bytes, type(None))):
            self._say(f"{type(value).__name__} {value!r};")
        elif isinstance(value, float):
            self._add_tensor(torch.tensor(value, dtype=torch.float64))
        elif depth > DEPTH:
            self._say(type(value).__name__)
        elif isinstance(value, Mapping):
            self._say(f"dict {len(value)};")
            for key in sorted(value, key=repr):
                self._say(f"{key!r}:")
                self.add(value[key], depth + 1)
        elif isinstance(value, (list, tuple, set, frozenset)):
            self._say(f"{'set' if isinstance(value, (set, frozenset)) else 'list'} {len(value)};")
            for one in sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value:
                self.add(one, depth + 1)
        else:
            self._add_object(value, depth)

    def _say(self, text: str) -> None:
        for one in (self.exact, self.kind):
            one.update(text.encode(errors="backslashreplace"))

    def _add_object(self, value: Any, depth: int) -> None:
        kind = type(value)
        if kind.__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):
            try:
                self._add_tensor(torch.as_tensor(value))
            except (TypeError, ValueError):  # of text, of objects
                self.add(value.tolist(), depth + 1)
        elif hasattr(value, "tobytes") and hasattr(value, "mode") and hasattr(value, "size"):  # a picture of Pillow
            self._say(f"picture {value.mode} {value.size};")
            self._add_tensor(torch.frombuffer(bytearray(value.tobytes()) or bytearray(1), dtype=torch.uint8))
        else:
            self._say(f"{kind.__module__}.{kind.__qualname__};")
            self.add(getattr(value, "__dict__", {}), depth + 1)

    def _add_tensor(self, tensor: Tensor) -> None:
        dense = tensor.detach().dequantize() if tensor.is_quantized else tensor.detach().to_dense()
        dense = dense.cpu().resolve_conj().resolve_neg().contiguous()
        self._say(f"tensor {dense.dtype} {tuple(dense.shape)};")
        memory = memory_of(dense)
        self.exact.update(memory)
        if dense.is_complex():
            dense = torch.view_as_real(dense)
        if not dense.is_floating_point() and dense.dtype != torch.uint8:
            self.kind.update(memory)
            return
        flat = dense.flatten()
        places = torch.linspace(0, len(flat) - 1, min(VALUES, len(flat)), dtype=torch.float64).round().long()
        values = [float(f"{value:.5g}") for value in flat[places].double().tolist()]
        self._say("".join("." if math.isfinite(value) else repr(value) for value in values))
        if len(self.values) < TENSORS:
            self.values.append(tuple(value for value in values if math.isfinite(value)))

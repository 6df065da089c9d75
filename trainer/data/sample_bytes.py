"""Samples as bytes, on their way from a worker to its rank, and datasets on theirs to a worker: pickle, with the memory
of tensors and arrays beside it, so that it is copied once and not parsed.

>>> sent = packed([(torch.arange(3), "cat")])
>>> unpacked(*sent)
[(tensor([0, 1, 2]), 'cat')]

torch's own way (shared memory, a file descriptor for every tensor) runs out of descriptors for a Dataset that holds
thousands of tensors; without it, torch writes a whole archive for each of them.
"""

from __future__ import annotations

import ctypes
import io
import pickle
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if type(value) is not Tensor or value.layout != torch.strided or value.device.type != "cpu":
            return NotImplemented
        if value.requires_grad or value.is_quantized or value.is_conj() or value.is_neg():
            return NotImplemented
        return _tensor, (pickle.PickleBuffer(memory_of(value.contiguous())), value.dtype, tuple(value.shape))


def memory_of(tensor: Tensor) -> bytearray:
    """A copy of the memory of a contiguous tensor on the CPU, of any type."""
    size = tensor.numel() * tensor.element_size()
    return bytearray((ctypes.c_char * size).from_address(tensor.data_ptr()) if size else b"")


def packed(content: Any) -> tuple[bytes, list[bytearray]]:
    """Raises what pickle raises for what can't be pickled."""
    stream, buffers = io.BytesIO(), list[pickle.PickleBuffer]()
    _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(content)
    return stream.getvalue(), [bytearray(buffer.raw()) for buffer in buffers]


def unpacked(data: bytes, buffers: Sequence[bytearray]) -> Any:
    """What was packed. Its tensors and arrays lie in `buffers`, which nobody else may have."""
    return pickle.loads(data, buffers=buffers)


def _tensor(memory: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    if not len(memory):
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(memory, dtype=dtype).reshape(shape)

"""Tensors as a file of the safetensors format, with torch alone. `trainer.verbs.export` writes one.

The format (huggingface/safetensors, README, "Format"): 8 bytes, the length of the header as an unsigned little-endian
number; the header, JSON in UTF-8 that begins with `{` and may end in spaces: of each tensor `dtype`, `shape` and
`data_offsets` [begin, end) in what follows it, and under `__metadata__` texts by name; then the values of all tensors,
little-endian in C order, one after the other without a hole. As the library itself does, the widest types come first
and the header is a multiple of 8 bytes long, so that every value is aligned.

    >>> size, pieces = laid_out({"weight": torch.zeros(2, 3)}, {"format": "pt"})
    >>> size == sum(len(piece) for piece in pieces)
    True
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from motley.trainer.errors import TrainerError

DTYPES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16", torch.uint16: "U16",
    torch.int32: "I32", torch.uint32: "U32", torch.int64: "I64", torch.uint64: "U64", torch.float16: "F16",
    torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64", torch.complex64: "C64",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip
PIECE = 4 << 20  # bytes
WITHOUT = "A name that ends in .pt takes any state_dict"


def laid_out(tensors: Mapping[str, object], metadata: Mapping[str, str]) -> tuple[int, Iterator[memoryview]]:
    """The length of the file, and its bytes in pieces. Tensors that share memory are written out each.

    Raises TrainerError for what is no tensor, or of a type that the format does not know.
    """
    known = {name: _checked(name, value) for name, value in tensors.items()}
    names = sorted(known, key=lambda name: (-known[name].element_size(), name))
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in names:
        tensor = known[name]
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text

    def pieces() -> Iterator[memoryview]:
        yield memoryview(head)
        for name in names:
            yield from _values(known[name])

    return len(head) + end, pieces()


def _checked(name: str, value: object) -> Tensor:
    if not isinstance(value, Tensor):
        raise TrainerError(f"{name} of the model is a {type(value).__name__}, and safetensors holds tensors", WITHOUT)
    if value.dtype not in DTYPES or value.layout != torch.strided or value.is_quantized:
        kind = value.dtype if value.layout == torch.strided else value.layout
        raise TrainerError(f"{name} of the model is of {kind}, which safetensors does not know", WITHOUT)
    return value


def _values(tensor: Tensor) -> Iterator[memoryview]:
    """Straight from its memory: numpy, which torch would go through, is not on every host."""
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    size = flat.numel() * flat.element_size()
    if not size:
        return
    memory = (ctypes.c_ubyte * size).from_address(flat.data_ptr())
    memory.tensor = flat  # type: ignore[attr-defined] # as long as anybody holds a piece
    view = memoryview(memory)
    for start in range(0, size, PIECE):
        yield view[start : start + PIECE]

"""The IDX format of MNIST and its relatives: bytes in a box of numbers, plain or gzip-compressed.

`trainer.tasks.datasets` reads digits and Fashion-MNIST with it. A file is two zero bytes, a type (8: unsigned bytes,
the only one here), the number of dimensions, each dimension as a big-endian 32-bit integer, then the values.

    >>> read(Path("train-labels-idx1-ubyte.gz"), (60000,)).dtype
    torch.uint8
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO, cast

import torch
from torch import Tensor

from motley.trainer.errors import DataError

_UNSIGNED_BYTES = 8
_REMEDY = "Replace it with the official file, plain or as .gz, or remove it"


def read(path: Path, shape: tuple[int, ...]) -> Tensor:
    """The values of an IDX file: uint8 in `shape`. Raises DataError when it is anything else."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if packed:
                with gzip.open(raw) as unpacked:
                    return _parse(cast(IO[bytes], unpacked), path, shape)
            return _parse(raw, path, shape)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file ({error})", _REMEDY) from error
    except OSError as error:
        cause = f"{path}: can't be read ({error.strerror or error})"
        raise DataError(cause, "Check the file and its rights") from error


def _parse(file: IO[bytes], path: Path, shape: tuple[int, ...]) -> Tensor:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] != _UNSIGNED_BYTES:
        raise DataError(f"{path}: expected an IDX file of bytes (it starts 00 00 08), found {head.hex(' ')!r}", _REMEDY)
    dimensions = head[3]
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise DataError(f"{path}: ends within its header", _REMEDY)
    found = struct.unpack(f">{dimensions}I", sizes)
    if found != shape:
        raise DataError(f"{path}: expected {_times(shape)} values, found {_times(found)}", _REMEDY)
    size = math.prod(shape)
    values = bytearray(file.read(size + 1))
    if len(values) != size:
        amount = f"only {len(values)}" if len(values) < size else "more"
        raise DataError(f"{path}: its header promises {size} bytes, found {amount}", _REMEDY)
    return torch.frombuffer(values, dtype=torch.uint8).reshape(shape)


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)

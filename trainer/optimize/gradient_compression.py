"""Gradients in half as many bytes on the way between ranks: `run.compress`.

They are rounded once on each rank, added up in the short format on the way, and widened again; weights and optimizer
stay in full precision. fp16 keeps about three digits of numbers from 6e-5 to 65,504 and fewer of smaller ones; bf16
keeps two digits of any size.

    >>> dtype = wire_dtype("fp16")
    >>> check(dtype, device)          # on every rank, once there is a group
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from motley.trainer.errors import TrainerError

_DTYPES = {"none": None, "fp16": torch.float16, "bf16": torch.bfloat16}


def wire_dtype(compress: str) -> torch.dtype | None:
    """What gradients are sent as; None: as they are."""
    return _DTYPES[compress]


def check(dtype: torch.dtype | None, device: torch.device) -> None:
    """Add up one number over all ranks in `dtype`. Raises TrainerError when this rank's backend can't.

    gloo adds bf16 only in newer versions of torch; without this check the first step would fail with a puzzle.
    """
    if dtype is None:
        return
    number = torch.ones(1, dtype=dtype, device=device)
    try:
        dist.all_reduce(number)
    except RuntimeError as error:
        if "Invalid scalar type" not in str(error):
            raise
        name = str(dtype).removeprefix("torch.")
        raise TrainerError(
            f"torch {torch.__version__} can't add up {name} over {dist.get_backend()} on {device.type}",
            "Set run.compress to 'fp16' or 'none', or install a newer torch on every host",
        ) from error


def sum_over_ranks(tensor: Tensor, dtype: torch.dtype | None) -> None:
    """Add up `tensor` over all ranks in place, sent as `dtype`. All ranks end with the same bits."""
    if dtype is None:
        dist.all_reduce(tensor)
        return
    short = tensor.to(dtype)
    dist.all_reduce(short)
    tensor.copy_(short)

"""Random numbers that are the same everywhere: SplitMix64, in exact 64-bit integer arithmetic.

`trainer.training.sampler` draws the order of samples from it and `trainer.tasks` the augmentation, the synthetic
pictures and their labels. A number depends on its key and index alone: not on the version of torch, the platform, the
device, or on how many numbers were drawn before. After Steele, Lea and Flood, "Fast splittable pseudorandom number
generators" (2014).

    >>> hashed(torch.arange(3), key(7, 0))
    tensor([...])
"""

from __future__ import annotations

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _signed(x: int) -> int:
    """The int64 that has the bits of `x`."""
    x &= _MASK
    return x - (1 << 64) if x >> 63 else x


def _mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * _FIRST) & _MASK
    x = ((x ^ (x >> 27)) * _SECOND) & _MASK
    return x ^ (x >> 31)


def key(*parts: int) -> int:
    """An int64 that stands for these integers in this order, for example (seed, epoch, a number for the purpose)."""
    state = 0
    for part in parts:
        state = _mix((state + _GAMMA) & _MASK ^ (part & _MASK))
    return _signed(state)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """A logical shift to the right: torch's own keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def hashed(ids: Tensor, key: int) -> Tensor:
    """64 random bits for every id, as int64, in the shape of `ids`. Different ids never get the same bits.

    Multiplying by an odd number and every line below can be undone, so equal bits mean equal ids; products wrap around.
    """
    x = (ids + 1) * _signed(_GAMMA) + key
    x = (x ^ _shifted(x, 30)) * _signed(_FIRST)
    x = (x ^ _shifted(x, 27)) * _signed(_SECOND)
    return x ^ _shifted(x, 31)


def picked(bits: Tensor, count: int, offset: int = 0) -> Tensor:
    """A number from 0 to `count` - 1, from the 24 of the bits that start at `offset` (0 to 40)."""
    return ((bits >> offset) & 0xFFFFFF) % count


def random_bytes(ids: Tensor, count: int, key: int) -> Tensor:
    """`count` random bytes for every id: uint8 [len(ids), count]. `count` is a multiple of 8."""
    words = count // 8
    index = ids[:, None] * words + torch.arange(words)
    bits = hashed(index, key)
    shifts = torch.arange(0, 64, 8)
    return ((bits[:, :, None] >> shifts) & 0xFF).to(torch.uint8).flatten(1)

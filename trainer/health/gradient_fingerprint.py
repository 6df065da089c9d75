"""A fingerprint of a step's averaged gradient: enough to tell later whether the step was computed right.

The parameters that are trained are taken in the order of the model's `parameters()`, all their elements numbered
through, from k = 0; g is in float64. Of each tensor the norm; of more than 512 tensors, of that many groups of tensors
that follow each other (the first ones larger by one where it does not divide). And 16 projections on random signs,

    p_i = sum_k s_i(k) g_k,    s_i(k) = +1 or -1: bit i of splitmix64(seed, k), 1 for +1

with splitmix64 as Steele, Lea and Flood 2014 have it (`mix` below): z = seed + (k + 1) * 0x9E3779B97F4A7C15, then its
three rounds, all modulo 2^64. Signs depend on the seed and k alone, so any split over ranks, device or version gives
the same numbers up to rounding.

>>> Fingerprint.of(model.parameters(), seed=0).projections
(0.0131…, …)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

PROJECTIONS, GROUPS = 16, 512
CHUNK = 1 << 15  # elements at a time: what is made of them stays in a processor's cache
GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


@dataclass(frozen=True, slots=True)
class Fingerprint:
    tensors: int
    norms: tuple[float, ...]  # of each tensor, or of each group of them
    projections: tuple[float, ...]

    @classmethod
    @torch.no_grad()
    def of(cls, parameters: Iterable[Tensor], *, seed: int, scale: float = 1.0) -> Fingerprint:
        """Of their `.grad`, which is so many times too large; a parameter without one has a gradient of 0."""
        trained = [p for p in parameters if p.requires_grad]
        squares: list[float] = []
        total = torch.zeros(PROJECTIONS, dtype=torch.float64)
        start = 0
        for parameter in trained:
            square, gradient = 0.0, parameter.grad
            for at in range(0, parameter.numel() if gradient is not None else 0, CHUNK):
                assert gradient is not None
                part = gradient.reshape(-1)[at : at + CHUNK].double() / scale
                square += float(part @ part)
                total += project(part, start + at, seed).cpu()
            squares.append(square)
            start += parameter.numel()
        norms = tuple(math.sqrt(sum(group)) for group in grouped(squares))
        return cls(len(trained), norms, tuple(total.tolist()))

    @property
    def finite(self) -> bool:
        return all(map(math.isfinite, (*self.norms, *self.projections)))


def project(gradient: Tensor, start: int, seed: int) -> Tensor:
    """The part of the projections that these elements have, of which the first is number `start`. Float64."""
    index = torch.arange(start + 1, start + 1 + gradient.numel(), device=gradient.device)
    bits = mix(index * signed(GOLDEN) + signed(seed))
    values = torch.arange(256, device=gradient.device)
    signs = (values >> values[:8].unsqueeze(1) & 1).double().mul_(2).sub_(1)  # (8, 256): of each byte's bits
    # The elements that share their signs are added up first.
    sums = [torch.bincount(byte, weights=gradient, minlength=256) for byte in (bits & 255, bits >> 8 & 255)]
    return torch.cat([signs @ of_byte for of_byte in sums])


def mix(z: Tensor) -> Tensor:
    """The rounds of splitmix64, of 64-bit integers that wrap around."""
    z = (z ^ shifted(z, 30)) * signed(FIRST)
    z = (z ^ shifted(z, 27)) * signed(SECOND)
    return z ^ shifted(z, 31)


def shifted(z: Tensor, bits: int) -> Tensor:
    """To the right, zeros coming in."""
    return z >> bits & ((1 << 64 - bits) - 1)


def signed(value: int) -> int:
    """The 64-bit integer with these bits."""
    value %= 1 << 64
    return value - (1 << 64) if value >> 63 else value


def grouped(values: list[float]) -> list[list[float]]:
    """In their order, in groups whose number is bounded."""
    groups = min(GROUPS, len(values))
    if not groups:
        return []
    size, larger = divmod(len(values), groups)
    ends = [size * i + min(i, larger) for i in range(groups + 1)]
    return [values[a:b] for a, b in pairwise(ends)]

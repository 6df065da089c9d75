"""Several rows in one of `length`, each seeing itself alone: no padding is computed, nothing of a row changes.

`packed` decides which go together: each row, the longest first, into the fullest one that still has room for it. Pure,
and the same everywhere. `block_mask` keeps them apart in attention.

    >>> packed([5, 9, 4, 1], length=10)
    [[0, 2, 3], [1]]
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

import torch
from torch import Tensor


def packed(lengths: Sequence[int], length: int) -> list[list[int]]:
    """Numbers of rows that together have at most `length` tokens, each number once; sorted, as are the groups by their
    first. Raises ValueError for a row that is longer than `length`."""
    if any(one > length for one in lengths):
        raise ValueError(f"a row of {max(lengths)} tokens does not go into {length}")
    groups: list[list[int]] = []
    room: dict[int, list[int]] = {}  # groups by the tokens that they still have room for
    sizes: list[int] = []  # the keys of `room`, sorted
    for number in sorted(range(len(lengths)), key=lambda one: (-lengths[one], one)):
        need = lengths[number]
        at = bisect_left(sizes, need)
        if at < len(sizes):
            left = sizes[at]
            group = room[left].pop()
            if not room[left]:
                del room[left], sizes[at]
        else:
            left, group = length, len(groups)
            groups.append([])
        groups[group].append(number)
        left -= need
        if left:
            if left not in room:
                room[left] = []
                insort(sizes, left)
            room[left].append(group)
    return sorted(sorted(group) for group in groups)


def block_mask(segments: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to attention's scores: 0 where a token may look, the lowest number of `dtype` elsewhere.

    `segments`: int64 [n, L], the number of the row that each token is of, -1 for padding. [n, 1, L, L]: a token sees
    those of its own row, up to itself; padding sees padding, so that no line is without one.
    """
    same = segments[:, :, None] == segments[:, None, :]
    seen = same & torch.ones(same.shape[1:], dtype=torch.bool, device=segments.device).tril()
    mask = torch.zeros(seen.shape, dtype=dtype, device=segments.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]

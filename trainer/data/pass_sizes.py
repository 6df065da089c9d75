"""Into which micro-batches a rank's samples are cut. Pure.

Without lengths a pass takes memory for its samples. Where they are padded to the longest of a pass, it takes memory for
the samples times that length, which is what `limit` bounds then:

>>> parts(10, 4, None)
(3, 3, 2, 2)
>>> padded_parts([2048, 900, 300, 290, 40], 1, 2048)         # 1 x 2048, 2 x 900, 2 x 290
(1, 2, 2)
"""

from __future__ import annotations

from collections.abc import Sequence

from motley.profiles.split_solver import equal_split


def parts(samples: int, accumulate: int, limit: int | None) -> tuple[int, ...]:
    """The sizes of the micro-batches of a share: `accumulate` of them, more where `limit` (samples) asks for it.

    They differ by one sample at most; none is empty.
    """
    least = 1 if limit is None else -(-samples // limit)
    return equal_split(samples, max(least, min(accumulate, samples)))


def padded_parts(lengths: Sequence[int], accumulate: int, limit: int | None) -> tuple[int, ...]:
    """The same for samples of these lengths, the longest first, at least one of them.

    `accumulate` of them at most, the largest as small as it can be; more where `limit`, samples times length, asks for
    it. None is larger than `limit` but one sample that is longer than it by itself.
    """
    least = _least_room(lengths, accumulate)
    return _cut(lengths, least if limit is None else min(least, limit))


def _least_room(lengths: Sequence[int], accumulate: int) -> int:
    """Samples times length that so many parts must have room for, found by bisection."""
    low, high = lengths[0], lengths[0] * len(lengths)
    while low < high:
        middle = (low + high) // 2
        if len(_cut(lengths, middle)) <= max(1, accumulate):
            high = middle
        else:
            low = middle + 1
    return low


def _cut(lengths: Sequence[int], room: int) -> tuple[int, ...]:
    """As many samples in each part as fit, one after the other: no other cut of them has fewer parts."""
    sizes, start = [], 0
    while start < len(lengths):
        sizes.append(max(1, min(room // lengths[start], len(lengths) - start)))
        start += sizes[-1]
    return tuple(sizes)

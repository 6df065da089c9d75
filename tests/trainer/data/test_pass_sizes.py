"""How samples of different lengths are cut into micro-batches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from motley.trainer.data.pass_sizes import padded_parts

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=40).map(lambda some: sorted(some, reverse=True))


def padded(lengths: list[int], sizes: tuple[int, ...]) -> list[int]:
    """Samples times length of each part."""
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    return [size * lengths[start] for size, start in zip(sizes, starts)]


@given(lengths=LENGTHS, accumulate=st.integers(1, 12), limit=st.none() | st.integers(1, 3000))
def test_parts_cover_the_share_within_the_limit(lengths: list[int], accumulate: int, limit: int | None) -> None:
    sizes = padded_parts(lengths, accumulate, limit)
    assert sum(sizes) == len(lengths)
    assert min(sizes) >= 1
    for size, tokens in zip(sizes, padded(lengths, sizes)):
        assert limit is None or tokens <= limit or size == 1
    if limit is None:
        assert len(sizes) <= accumulate


@given(lengths=LENGTHS.filter(lambda some: len(some) <= 8), accumulate=st.integers(1, 4))
def test_the_largest_part_is_as_small_as_so_many_parts_allow(lengths: list[int], accumulate: int) -> None:
    def cuts(count: int, parts: int) -> list[tuple[int, ...]]:
        if parts == 1:
            return [(count,)]
        return [(first, *rest) for first in range(1, count) for rest in cuts(count - first, parts - 1)]

    every = [cut for parts in range(1, min(accumulate, len(lengths)) + 1) for cut in cuts(len(lengths), parts)]
    assert max(padded(lengths, padded_parts(lengths, accumulate, None))) == min(max(padded(lengths, c)) for c in every)


def test_long_samples_are_few_in_a_part_and_short_ones_many() -> None:
    assert padded_parts([2048, 900, 300, 290, 40], 1, 2048) == (1, 2, 2)
    assert padded_parts([2048, 900, 300, 290, 40], 1, None) == (5,)
    assert padded_parts([2048, 900, 300, 290, 40], 8, None) == (1, 2, 2)  # no smaller than the longest by itself
    assert padded_parts([64] * 4, 2, None) == (2, 2)
    assert padded_parts([64] * 4, 1, 63) == (1, 1, 1, 1)  # a sample longer than the limit is tried by itself

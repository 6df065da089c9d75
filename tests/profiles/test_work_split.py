"""Who takes which samples of a step whose samples cost differently."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motley.profiles.work_split import split_work

WORK = st.lists(st.integers(1, 10**12), max_size=60)
SHARES = st.lists(st.integers(0, 500), min_size=1, max_size=8)


def makespan(work: list[int], shares: list[int], taken: tuple[tuple[int, ...], ...]) -> Fraction:
    """Of the rank that ends last; a share is a speed."""
    ends = [Fraction(sum(work[i] for i in places), share) for places, share in zip(taken, shares) if share]
    return max(ends, default=Fraction(0))


@given(work=WORK, shares=SHARES)
def test_every_sample_is_taken_once_and_a_share_of_0_takes_none(work: list[int], shares: list[int]) -> None:
    taken = split_work(work, shares)
    assert sorted(place for places in taken for place in places) == list(range(len(work)))
    assert all([*places] == sorted(places) for places in taken)
    assert not any(places for places, share in zip(taken, shares) if share == 0 and any(shares))


@given(work=WORK.filter(bool), shares=st.lists(st.integers(1, 500), min_size=1, max_size=8))
def test_the_last_to_end_is_late_by_one_sample_of_the_others_at_most(work: list[int], shares: list[int]) -> None:
    ends = makespan(work, shares, split_work(work, shares))
    assert ends <= Fraction(sum(work) + (len(shares) - 1) * max(work), sum(shares))


@given(
    work=st.lists(st.integers(1, 60), min_size=1, max_size=6),
    shares=st.lists(st.integers(1, 8), min_size=1, max_size=3),
)
def test_no_split_is_twice_as_good_nor_4_to_3_where_all_are_alike(work: list[int], shares: list[int]) -> None:
    def best(speeds: list[int]) -> Fraction:
        ranks = range(len(speeds))
        return min(
            makespan(work, speeds, tuple(tuple(i for i, at in enumerate(chosen) if at == rank) for rank in ranks))
            for chosen in itertools.product(ranks, repeat=len(work))
        )

    assert makespan(work, shares, split_work(work, shares)) < 2 * best(shares)
    alike = [1] * len(shares)
    assert makespan(work, alike, split_work(work, alike)) <= Fraction(4, 3) * best(alike)


@pytest.mark.parametrize(("rows", "least"), [(16, 0.90), (32, 0.97), (64, 0.99), (256, 0.999)])
def test_rows_of_32_to_2048_tokens_keep_ranks_of_1_to_a_quarter_busy(rows: int, least: float) -> None:
    """The mean over 200 steps of the work over what all ranks could do until the last of them ends."""
    rng = random.Random(rows)
    shares = [4, 2, 1]
    found = []
    for _ in range(200):
        work = [length * (length + 3096) for length in (rng.randint(32, 2048) for _ in range(rows))]
        found.append(float(sum(work) / (makespan(work, shares, split_work(work, shares)) * sum(shares))))
    assert sum(found) / len(found) >= least


def test_the_split_is_pinned_so_that_other_versions_and_machines_can_be_compared() -> None:
    assert split_work([9, 1, 1, 1, 1, 1, 4], (2, 1)) == ((0, 1, 3, 4), (2, 5, 6))
    assert split_work([5, 5, 5], (1, 1)) == ((0, 2), (1,))
    assert split_work([2**61, 2**61 - 1], (3, 3)) == ((0,), (1,))
    assert split_work([7, 7], (0, 0)) == ((0,), (1,))


@pytest.mark.parametrize("shares", [(), (3, -1)])
def test_shares_that_are_none_are_an_error(shares: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        split_work([1], shares)

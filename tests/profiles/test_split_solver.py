"""The split is the best there is, for any costs, caps, minimums and ties; and what can't be done is said clearly."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from motley.profiles.split_solver import SplitError, equal_split, finish, proportional_split, scaled, split


def greedy(costs: Sequence[tuple[float, float]], total: int, caps: Sequence[int], lows: Sequence[int]) -> list[int]:
    """The rule in its plainest form: one sample at a time."""
    shares = list(lows)
    for _ in range(total - sum(lows)):
        free = [i for i in range(len(costs)) if shares[i] < caps[i]]
        shares[min(free, key=lambda i: (costs[i][0] + costs[i][1] * (shares[i] + 1), i))] += 1
    return shares


@st.composite
def problems(
    draw: st.DrawFn, ranks: int = 4, most: int = 9
) -> tuple[list[tuple[float, float]], int, list[int], list[int]]:
    n = draw(st.integers(1, ranks))
    number = st.one_of(st.integers(1, 4).map(float), st.floats(1e-3, 1e3))  # whole numbers make many ties
    costs = draw(st.lists(st.tuples(st.one_of(st.just(0.0), number), number), min_size=n, max_size=n))
    caps = draw(st.lists(st.integers(0, most), min_size=n, max_size=n))
    lows = [draw(st.integers(0, cap)) for cap in caps]
    total = draw(st.integers(sum(lows), sum(caps)))
    return costs, total, caps, lows


@settings(max_examples=300, deadline=None)
@given(problems())
def test_no_other_split_is_faster(problem: tuple[list[tuple[float, float]], int, list[int], list[int]]) -> None:
    costs, total, caps, lows = problem
    got = split(costs, total, caps=caps, minimums=lows)
    assert sum(got) == total
    assert all(low <= b <= cap for low, b, cap in zip(lows, got, caps))
    every = itertools.product(*(range(low, cap + 1) for low, cap in zip(lows, caps)))
    assert finish(costs, got) == min(finish(costs, shares) for shares in every if sum(shares) == total)


@settings(max_examples=150, deadline=None)
@given(problems(ranks=8, most=60))
def test_the_quick_way_gives_what_one_sample_at_a_time_gives(
    problem: tuple[list[tuple[float, float]], int, list[int], list[int]],
) -> None:
    costs, total, caps, lows = problem
    assert list(split(costs, total, caps=caps, minimums=lows)) == greedy(costs, total, caps, lows)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(0, 400), st.integers(0, 2**32))
def test_extreme_spreads_of_cost_stay_exact(ranks: int, total: int, seed: int) -> None:
    rng = random.Random(seed)
    costs = [(10 ** rng.uniform(-6, 6), 10 ** rng.uniform(-9, 6)) for _ in range(ranks)]
    assert list(split(costs, total)) == greedy(costs, total, [total] * ranks, [0] * ranks)


def test_ranks_of_equal_cost_differ_by_at_most_one_and_the_first_get_more() -> None:
    assert split([(3.0, 0.1)] * 4, 10) == (3, 3, 2, 2)
    assert split([(0.0, 0.1)] * 3, 0) == (0, 0, 0)


def test_a_rank_that_would_only_slow_the_step_gets_nothing() -> None:
    assert split([(10, 1), (10, 1), (500, 1)], 100) == (50, 50, 0)


def test_without_bounds_the_ranks_finish_together() -> None:
    costs = [(4.0, 0.31), (9.0, 0.7), (2.0, 1.5), (20.0, 0.05)]
    together = (4096 + sum(a / c for a, c in costs)) / sum(1 / c for _, c in costs)
    shares = split(costs, 4096)
    assert all(abs(a + c * b - together) <= 1.5 for (a, c), b in zip(costs, shares))  # one sample of the slowest


def test_ten_thousand_ranks_reach_the_bound_of_the_continuous_problem() -> None:
    rng = random.Random(3)
    costs = [(rng.uniform(0, 20), rng.uniform(0.05, 2)) for _ in range(10_000)]
    shares = split(costs, 1_000_000)
    assert sum(shares) == 1_000_000
    worst = finish(costs, shares)
    # Optimal exactly when no rank could take another sample and still be done before the slowest is.
    assert sum(max(0, int((worst * (1 - 1e-9) - a) // c)) for a, c in costs) < 1_000_000


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (lambda: split([(0, 1)] * 2, 100, caps=[30, 40]), ["70", "30 fewer", "raise the caps"]),
        (lambda: split([(0, 1)] * 2, 10, minimums=[8, 8]), ["16", "6 more", "lower the minimums"]),
        (lambda: split([(0, 1)] * 2, 10, caps=[2, None], minimums=[3, 0]), ["rank 0", "minimum of 3", "cap of 2"]),
        (lambda: split([(0, 1)] * 2, 10, caps=[2]), ["1 caps for 2 ranks"]),
        (lambda: split([(0, 1), (0, 0)], 10), ["rank 1", "c > 0"]),
        (lambda: split([(float("nan"), 1)], 10), ["rank 0"]),
        (lambda: split([], 10), ["no ranks"]),
        (lambda: split([(0, 1)], -1), ["below 0"]),
        (lambda: proportional_split([1, 0], 10), ["rank 1", "above 0"]),
        (lambda: equal_split(10, 2, [4, 4]), ["2 fewer"]),
        (lambda: scaled([], 4), ["no ranks"]),
        (lambda: scaled([1, 2], -1), ["below 0"]),
    ],
)
def test_what_can_not_be_shared_out_is_explained(work: Callable[[], object], words: list[str]) -> None:
    with pytest.raises(SplitError) as error:
        work()
    assert [word for word in words if word not in str(error.value)] == []


def test_equal_split_gives_what_a_capped_rank_can_not_take_to_the_others() -> None:
    assert equal_split(10, 3) == (4, 3, 3)
    assert equal_split(100, 3, [10, None, None]) == (10, 45, 45)


def test_proportional_split_follows_speeds_within_caps_and_minimums() -> None:
    assert proportional_split([4, 2, 1, 1], 256) == (128, 64, 32, 32)
    assert proportional_split([4, 2, 1, 1], 256, caps=[64, None, None, None]) == (64, 96, 48, 48)
    assert proportional_split([100, 1], 20, minimums=[0, 5]) == (15, 5)
    assert proportional_split([1, 1, 1], 10) == (4, 3, 3)


@settings(max_examples=200, deadline=None)
@given(problems(ranks=6, most=40))
def test_proportional_shares_are_within_one_sample_of_exact_proportion(
    problem: tuple[list[tuple[float, float]], int, list[int], list[int]],
) -> None:
    costs, total, caps, lows = problem
    speeds = [c for _, c in costs]
    got = proportional_split(speeds, total, caps, lows)
    assert sum(got) == total
    assert all(low <= b <= cap for low, b, cap in zip(lows, got, caps))
    free = [(b, s) for low, b, cap, s in zip(lows, got, caps, speeds) if low < b < cap]
    for (b1, s1), (b2, s2) in itertools.combinations(free, 2):
        assert abs(b1 / s1 - b2 / s2) <= (1 + 1e-6) / s1 + (1 + 1e-6) / s2


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(0, 300))
def test_a_smaller_batch_keeps_the_proportion_of_the_shares(shares: list[int], count: int) -> None:
    got = scaled(shares, count)
    assert sum(got) == count
    assume(sum(shares) > 0)
    assert all(abs(b - share * count / sum(shares)) < 1 for b, share in zip(got, shares))
    assert all(b == 0 for b, share in zip(got, shares) if share == 0)
    if count <= sum(shares):
        assert all(b <= share for b, share in zip(got, shares))


def test_a_smaller_batch_when_all_shares_are_zero_is_split_equally() -> None:
    assert scaled((0, 0, 0), 5) == (2, 2, 1)
    assert scaled((128, 64, 32, 32), 100) == (50, 25, 13, 12)

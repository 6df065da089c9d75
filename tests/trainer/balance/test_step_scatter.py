"""What ranks scatter beside each other: what slows all of them is not part of it."""

from __future__ import annotations

import random
from statistics import fmean

import pytest

from motley.profiles.cost import CostModel
from motley.trainer.balance.measured_step import MeasuredStep
from motley.trainer.balance.step_scatter import RECENT, StepScatter
from motley.trainer.balance.step_times import StepTimes


@pytest.mark.parametrize("ranks", [2, 3, 4, 8])
def test_each_rank_s_own_scatter_is_found_whatever_slows_all_of_them(ranks: int) -> None:
    found = []
    for seed in range(40):
        rng = random.Random(seed)
        scatter = StepScatter(ranks)
        for _ in range(RECENT):
            common = rng.gauss(0, 0.5)
            scatter.take([[common + rng.gauss(0, 0.08) for _ in range(ranks)]])
        found.append(fmean(scatter.relative))
    assert fmean(found) == pytest.approx(0.08, rel=0.1)


def test_of_three_ranks_the_one_that_scatters_is_told_from_those_that_do_not() -> None:
    rng = random.Random(1)
    scatter = StepScatter(3)
    scatter.take([[rng.gauss(0, part) for part in (0.01, 0.01, 0.3)] for _ in range(RECENT)])
    steady, other, restless = scatter.relative
    assert max(steady, other) < 0.1 < 0.2 < restless


def test_before_anything_is_known_and_for_a_rank_alone_it_is_the_guess() -> None:
    assert StepScatter(2).relative == (0.1, 0.1)
    alone = StepScatter(1)
    alone.take([[0.3], [-0.4], [0.2]])
    assert alone.relative == (0.1,)


def test_it_forgets_what_is_more_than_thirty_steps_ago() -> None:
    scatter = StepScatter(2)
    scatter.take([[1.0, -1.0], [-1.0, 1.0]] * 20)
    scatter.take([[0.0, 0.0]] * RECENT)
    assert scatter.relative == pytest.approx((0.025, 0.025))


def test_ranks_that_meet_once_a_window_scatter_as_the_mean_of_its_steps() -> None:
    rng = random.Random(3)
    models = [CostModel.guess(0.0, 1.0, 64) for _ in range(2)]
    together, apart = StepTimes(2), StepTimes(2, apart=True)
    for _ in range(RECENT):
        window = [[rng.gauss(64, 16) for _ in range(16)] for _ in range(2)]
        rows = [[MeasuredStep(64, 1.0, ms, max(window[0][i], window[1][i])) for i, ms in enumerate(r)] for r in window]
        for times in (together, apart):
            times.take(rows, models, shares=(64, 64), total=128)
    assert fmean(together.scatter) == pytest.approx(0.25, rel=0.4)
    assert fmean(apart.scatter) == pytest.approx(0.25 / 4, rel=0.4)

"""Moves that help are made soon, moves that only chase noise are not, and each says why.

The simulation stands for a run: ranks with lines of their own, noisy steps, a decision each window of 5 steps.
"""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass, field

import pytest

from motley.profiles.cost import CostModel
from motley.profiles.rebalance_proposal import propose
from motley.profiles.split_solver import SplitError, equal_split, finish, split

WINDOW = 5


@dataclass
class Outcome:
    moved_at: list[int] = field(default_factory=list)
    quality: list[float] = field(default_factory=list)  # a step: time of the best split over that of the one in use


def simulate(
    seed: int, noise: float, *, steps: int, slow_from: int | None = None, outliers: float = 0.0, ranks: int = 4
) -> Outcome:
    rng = random.Random(seed)
    speeds = [rng.choice([1, 0.7, 0.5, 0.25, 0.25]) for _ in range(ranks)]
    truth = [(rng.uniform(1, 6) / s, rng.uniform(0.25, 0.35) / s) for s in speeds]
    total = 64 * ranks
    slow_rank = rng.randrange(ranks)
    models = [CostModel() for _ in range(ranks)]
    shares = equal_split(total, ranks)
    times: list[list[float]] = [[] for _ in range(ranks)]
    outcome = Outcome()
    best = finish(truth, split(truth, total))
    quality = best / finish(truth, shares)
    for step in range(1, steps + 1):
        if step == slow_from:
            a, c = truth[slow_rank]
            truth[slow_rank] = (2.5 * a, 2.5 * c)
            best = finish(truth, split(truth, total))
            quality = best / finish(truth, shares)
        for (a, c), share, mine in zip(truth, shares, times):
            accident = rng.uniform(2, 5) if rng.random() < outliers else 1.0
            mine.append((a + c * share) * max(0.2, 1 + noise * rng.gauss(0, 1)) * accident)
        outcome.quality.append(quality)
        if step % WINDOW == 0:
            for model, share, mine in zip(models, shares, times):
                model.observe(share, mine)
                mine.clear()
            proposal = propose(models, shares, total)
            if proposal.moves:
                outcome.moved_at.append(step)
                shares = proposal.shares
                quality = best / finish(truth, shares)
    return outcome


def busiest_hundred(moved_at: list[int]) -> int:
    """The most moves in any 100 steps after the first 30."""
    late = [step for step in moved_at if step > 30]
    return max((sum(start <= step < start + 100 for step in late) for start in late), default=0)


@pytest.mark.parametrize(
    ("noise", "outliers", "ranks", "least_quality"),
    [(0.03, 0.0, 4, 0.985), (0.10, 0.0, 4, 0.975), (0.20, 0.0, 4, 0.95), (0.20, 0.03, 4, 0.95), (0.10, 0.0, 16, 0.96)],
)
def test_it_settles_near_the_best_split(noise: float, outliers: float, ranks: int, least_quality: float) -> None:
    """20 % with outliers is what CPU quotas and shared machines do; there 1 run in 50 may take a third move."""
    seeds = 60 if ranks == 4 else 12
    outcomes = [simulate(seed, noise, steps=230, outliers=outliers, ranks=ranks) for seed in range(seeds)]
    restless = sum(busiest_hundred(outcome.moved_at) > 2 for outcome in outcomes)
    assert restless <= (0 if noise < 0.2 else seeds // 50)
    assert statistics.fmean(statistics.fmean(o.quality[30:]) for o in outcomes) > least_quality


@pytest.mark.parametrize(("noise", "on_time"), [(0.03, 0.98), (0.10, 0.90)])
def test_after_a_slowdown_it_is_back_at_95_percent_of_the_new_best_within_15_steps(
    noise: float, on_time: float
) -> None:
    """At any place in the window. What is missing at 10 % noise lies within 90 % by then: 10 steps tell no more."""
    steps_needed, at_15 = [], []
    for seed in range(150):
        slow_from = 101 + seed % WINDOW
        quality = simulate(seed, noise, steps=slow_from + 30, slow_from=slow_from).quality[slow_from - 1 :]
        steps_needed.append(next((i for i, q in enumerate(quality) if q >= 0.95), 99))
        at_15.append(quality[15])
    assert statistics.median(steps_needed) <= 10
    assert statistics.fmean(steps <= 15 for steps in steps_needed) >= on_time
    assert min(at_15) > 0.85
    assert statistics.fmean(at_15) > 0.96


def test_the_first_move_comes_after_one_window_and_brings_most_of_the_gain() -> None:
    outcome = simulate(0, 0.05, steps=20)
    assert outcome.moved_at[0] == WINDOW
    assert outcome.quality[WINDOW] > 0.8 > 0.5 > outcome.quality[0]


def known(*lines: tuple[float, float], batch: int = 64, noise: float = 0.02, windows: int = 8) -> list[CostModel]:
    """Models of ranks whose steps scatter about their mean, always in the same way."""
    models = []
    for a, c in lines:
        model = CostModel()
        for _ in range(windows):
            model.observe(batch, [(a + c * batch) * (1 + noise * x) for x in (-1.2, 0.4, 0.0, 1.2, -0.4)])
        models.append(model)
    return models


def test_a_move_says_who_was_slow_and_by_how_much() -> None:
    models = known((0, 31 / 64), (0, 96 / 64))
    proposal = propose(models, (64, 64), 128, names=("box1", "box3"))
    assert proposal.moves
    assert sum(proposal.shares) == 128
    assert proposal.shares[0] > 90
    assert "box3 took 9" in proposal.why
    assert "for 64 samples, box1 3" in proposal.why
    assert proposal.current_ms == pytest.approx(96, rel=0.02)
    assert proposal.predicted_ms is not None
    assert 40 < proposal.predicted_ms < 55
    assert proposal.gain == pytest.approx(1 - proposal.predicted_ms / 96, abs=0.02)


def test_a_move_names_the_rank_that_changed() -> None:
    models = known((0, 0.5), (0, 0.5))
    models[1].observe(64, [80.0, 81.0, 79.0, 80.0, 80.5])
    assert "box3 became 2.5 times slower" in propose(models, (64, 64), 128, names=("box1", "box3")).why


def test_it_keeps_shares_that_a_move_would_hardly_improve_and_says_so() -> None:
    models = known((0, 0.50), (0, 0.51))
    proposal = propose(models, (64, 64), 128)
    assert (proposal.moves, proposal.shares) == (False, (64, 64))
    assert "a move needs 3.0%" in proposal.why
    assert propose(models, (68, 60), 128, min_gain=0.001).moves


def test_a_gain_that_noise_explains_is_not_taken() -> None:
    proposal = propose(known((0, 0.46), (0, 0.54), noise=0.4), (64, 64), 128)
    assert not proposal.moves
    assert "noise alone explains" in proposal.why
    assert propose(known((0, 0.46), (0, 0.54), noise=0.01), (64, 64), 128).moves


def test_nothing_moves_before_every_rank_was_measured() -> None:
    models = [*known((0, 0.5)), CostModel()]
    proposal = propose(models, (64, 64), 128, names=("box1", "box2"))
    assert not proposal.moves
    assert "box2" in proposal.why


def test_shares_that_no_longer_fit_are_replaced_whatever_the_gain() -> None:
    models = known((0, 0.5), (0, 0.5))
    capped = propose(models, (64, 64), 128, [32, None], names=("box1", "box2"))
    assert (capped.moves, capped.shares) == (True, (32, 96))
    assert "box1 can take 32 samples at most" in capped.why
    least = propose(models, (64, 64), 128, None, [80, 0])
    assert (least.moves, least.shares) == (True, (80, 48))
    assert propose(models, (64, 64), 130).moves
    joined = propose([*models, CostModel()], (64, 64), 128)
    assert (joined.moves, len(joined.shares), sum(joined.shares)) == (True, 3, 128)
    assert min(joined.shares) > 40  # the newcomer counts as the average of the others
    with pytest.raises(SplitError, match="28 fewer"):
        propose(models, (64, 64), 128, [50, 50])


def test_alone_a_rank_keeps_everything() -> None:
    assert not propose(known((0, 0.5)), (64,), 64).moves


def test_a_new_group_is_split_by_what_is_known_without_shares_of_its_own() -> None:
    """One rank's line has no intercept, one is not known."""
    models = [CostModel.guess(0.0, 1.0, 64), CostModel.guess(0.0, 2.0, 64), CostModel()]
    proposal = propose(models, (), 210)
    assert proposal.moves
    assert proposal.shares == split([(0.0, 1.0), (0.0, 2.0), (0.0, 1.5)], 210)

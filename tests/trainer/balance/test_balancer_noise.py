"""Whole runs of the balancer in numbers: noise is not chased, what is unequal is followed, predictions come true."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import median

import pytest

from motley.profiles.split_solver import equal_split, finish, split
from tests.trainer.simulated import Noise, Outcome, alike, contended, drifting, simulate, steady

EQUAL = [(4.0, 0.5)] * 4
UNEQUAL = [(3.0, 0.3), (6.0, 0.6), (12.0, 1.2), (12.0, 1.2)]
SEEDS = range(6)


@pytest.mark.parametrize(
    "noise",
    [steady(0.2), drifting(0.2, 10), drifting(0.2, 30), contended(0.16, slower=1.4, every=80, lasts=6)],
    ids=["iid", "drift10", "drift30", "contention"],
)
def test_on_equal_hosts_with_a_fifth_of_noise_hardly_anything_moves_and_nothing_is_lost(
    tmp_path: Path, noise: Noise
) -> None:
    for outcome in runs(tmp_path, EQUAL, noise, steps=500):
        assert len(outcome.changes) <= 3
        assert outcome.seconds <= 1.02 * outcome.equal_seconds


@pytest.mark.parametrize(("deviation", "error"), [(0.03, 0.04), (0.2, 0.10)])
def test_unequal_hosts_are_found_at_once_and_predictions_come_true(
    tmp_path: Path, deviation: float, error: float
) -> None:
    outcomes = runs(tmp_path, UNEQUAL, steady(deviation), steps=300)
    for outcome in outcomes:
        assert outcome.changes[0] == 6
        assert len(outcome.changes) <= 4
        assert outcome.gain == pytest.approx(outcome.equal_seconds / outcome.seconds, rel=0.15)
    assert median(e for outcome in outcomes for e in outcome.errors) <= error


def test_what_slows_all_hosts_alike_is_not_predicted_to_make_any_of_them_wait(tmp_path: Path) -> None:
    outcomes = runs(tmp_path, UNEQUAL, alike(0.2, own=0.02), steps=300, seeds=range(20))
    realised = [e["data"] for outcome in outcomes for e in outcome.events if e["kind"] == "realised"]
    assert median(one["predicted_ms"] / one["realised_ms"] for one in realised) == pytest.approx(1, abs=0.05)


def test_a_host_that_becomes_slower_is_followed_within_fifteen_steps_also_on_noisy_hosts(tmp_path: Path) -> None:
    slow = [(2.5 * a, 2.5 * c) if rank == 1 else (a, c) for rank, (a, c) in enumerate(EQUAL)]
    best, equal = finish(slow, split(slow, 256)), finish(slow, equal_split(256, 4))
    for deviation in (0.05, 0.2):
        for outcome in runs(tmp_path / str(deviation), EQUAL, steady(deviation), steps=240, slower=(201, 1, 2.5)):
            shares = outcome.shares_at[200 + 17]  # a decision takes two steps to be heard of
            assert finish(slow, shares) < best + 0.25 * (equal - best)


def runs(
    folder: Path, lines: list[tuple[float, float]], noise: Noise, seeds: Iterable[int] = SEEDS, **wanted: object
) -> list[Outcome]:
    outcomes = []
    for seed in seeds:
        place = folder / str(seed)
        place.mkdir(parents=True)
        outcomes.append(simulate(place, seed=seed, lines=lines, noise=noise, **wanted))  # type: ignore[arg-type]
    return outcomes

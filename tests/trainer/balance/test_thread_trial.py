"""Trying numbers of threads in the first steps, on costs that are given; and what the balancer makes of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pytest

from motley.trainer.balance.thread_trial import MOST_STEPS, ThreadTrial


class Rank:
    """One whose steps take what `cost(threads, batch)` says, in ms."""

    def __init__(self, counts: tuple[int, ...], cost: Callable[[int, int], float]) -> None:
        self.applied: list[int] = []
        self.told: list[tuple[dict[int, float], int]] = []
        self.trial = ThreadTrial(counts, apply=self.applied.append, told=self._tell)
        self._cost = cost
        self.steps = 0

    def _tell(self, found: Mapping[int, float], kept: int) -> None:
        self.told.append((dict(found), kept))

    def step(self, batch: int = 64) -> float:
        """What the balancer is told of it."""
        self.steps += 1
        return self.trial.measured(batch, self._cost(self.trial.count, batch))

    def until_over(self, batch: int = 64) -> list[float]:
        said = []
        while not self.trial.over:
            said.append(self.step(batch))
            assert self.steps <= MOST_STEPS
        return said


def by_count(**ms: float) -> Callable[[int, int], float]:
    return lambda threads, _batch: ms[f"t{threads}"]


def test_the_faster_one_is_kept_and_told_and_nothing_of_the_trial_is_evidence() -> None:
    rank = Rank((1, 2), by_count(t1=76.2, t2=220.0))
    said = rank.until_over()
    assert all(map(math.isnan, said))
    assert rank.steps <= 10  # two windows of steps
    assert (rank.trial.count, rank.applied) == (
        1,
        [1],
    )  # it begins with what is in place, and tries no hopeless one twice
    ((found, kept),) = rank.told
    assert found == {1: pytest.approx(839.9, abs=0.1), 2: pytest.approx(290.9, abs=0.1)}
    assert kept == 1
    assert rank.step() == 76.2  # from now on the balancer learns
    assert len(rank.told) == 1


def test_what_is_in_place_stays_where_it_is_the_fastest() -> None:
    rank = Rank((1, 4, 8), by_count(t1=100.0, t4=40.0, t8=25.0))
    rank.until_over()
    assert rank.trial.count == rank.applied[-1] == 8
    assert rank.told[0][1] == 8
    assert set(rank.told[0][0]) == {1, 4, 8}


def test_close_ones_take_two_turns_so_that_a_machine_which_slows_down_wrongs_none() -> None:
    drift = iter(range(1000))
    rank = Rank((1, 2), lambda threads, _batch: {1: 50.0, 2: 46.0}[threads] + 0.4 * next(drift))
    rank.until_over()
    assert rank.applied == [1, 2]
    assert rank.trial.count == 2


def test_a_step_after_a_change_and_the_first_ones_do_not_count() -> None:
    applied: list[int] = []
    trial = ThreadTrial((1, 2), apply=applied.append)
    before, steps = 0, 0
    while not trial.over:
        cold = steps < 2 or trial.count != before
        before = trial.count
        trial.measured(64, 9000.0 if cold else {1: 50.0, 2: 20.0}[trial.count])
        steps += 1
    assert trial.count == 2


def test_steps_that_were_disturbed_or_smaller_do_not_count() -> None:
    rank = Rank((1, 2), lambda threads, batch: {1: 76.0, 2: 220.0}[threads] * batch / 64)
    for batch in (64, 64, 64, 7, 64):  # the end of an epoch
        rank.step(batch)
    rank.trial.measured(64, math.nan)
    rank.until_over()
    assert rank.told[0][0] == {1: pytest.approx(842.1, abs=0.1), 2: pytest.approx(290.9, abs=0.1)}


def test_with_another_share_it_begins_anew() -> None:
    rank = Rank((1, 2), lambda threads, batch: threads * batch * 1.0)
    for _ in range(6):
        rank.step(64)
    assert rank.trial.count == 1
    rank.until_over(32)
    ((found, kept),) = rank.told
    assert found == {1: pytest.approx(1000.0), 2: pytest.approx(500.0)}
    assert kept == 1


def test_long_steps_are_tried_once() -> None:
    rank = Rank((1, 2), by_count(t1=9000.0, t2=8000.0))
    rank.until_over()
    assert rank.steps == 5
    assert rank.trial.count == 2


def test_it_ends_whatever_comes() -> None:
    rank = Rank((1, 2), lambda _threads, _batch: math.nan)
    rank.until_over()
    assert (rank.trial.count, rank.told) == (2, [])
    assert rank.trial.measured(64, 5.0) == 5.0


def test_a_rank_without_samples_has_nothing_to_try_with_and_is_as_any_other() -> None:
    rank = Rank((1, 2), by_count(t1=1.0, t2=2.0))
    assert [rank.step(0) for _ in range(30)] == [2.0] * 30
    assert not rank.trial.over


def test_where_it_is_known_nothing_is_tried() -> None:
    trial = ThreadTrial.without(3)
    assert (trial.over, trial.count, trial.measured(64, 5.0)) == (True, 3, 5.0)

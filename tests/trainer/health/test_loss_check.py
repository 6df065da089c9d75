"""A loss that is not a number, infinite, or has blown up; and curves that are none of it."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest

from motley.trainer.health.loss_check import LossCheck, Trouble

WINDOW = 5


def found(losses: Sequence[float]) -> list[tuple[int, str]]:
    """What is told of a curve: at the end of which window, and what."""
    check = LossCheck()
    told = ((first, check.window(first + 1, losses[first : first + WINDOW])) for first in range(0, len(losses), WINDOW))
    return [(first + WINDOW, trouble.why) for first, trouble in told if trouble is not None]


def curve(steps: int, *, floor: float, start: float = 2.3, noise: float = 0.3, seed: int = 0) -> list[float]:
    """One that falls as training does, with the noise of its batches."""
    random.seed(seed)
    return [(floor + (start - floor) * math.exp(-s / 40)) * math.exp(random.gauss(0, noise)) for s in range(steps)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("floor", [0.5, 0.02, 1e-4, 1e-7])
def test_training_that_goes_well_is_never_told_of(floor: float, seed: int) -> None:
    assert found(curve(600, floor=floor, seed=seed)) == []
    assert found(curve(600, floor=floor, noise=1.0, seed=seed)) == []  # batches of one sample
    assert found([-loss for loss in curve(600, floor=floor, seed=seed)]) == []  # a likelihood that gets worse slowly
    assert found([loss - 50 for loss in curve(600, floor=floor, seed=seed)]) == []


def test_one_bad_window_and_a_loss_that_comes_back_are_no_blow_up() -> None:
    good = curve(200, floor=0.1)
    assert found([*good[:150], *[90.0] * WINDOW, *good[150:]]) == []
    assert found([*good[:150], *[90.0] * WINDOW, *[40.0] * WINDOW, *good[150:]]) == []


@pytest.mark.parametrize("rate", [1.05, 1.2, 2.0])
def test_a_loss_that_grows_and_grows_has_blown_up(rate: float) -> None:
    good = curve(200, floor=0.1)
    told = found([*good, *[0.1 * rate**s for s in range(200)]])
    assert [why for _, why in told] == ["blown up"]  # once, while it lasts
    reached = next(s for s in range(200) if 0.1 * rate**s > 50)
    assert told[0][0] <= 200 + reached + 3 * WINDOW


def test_a_fall_back_to_guessing_is_one_too_and_it_is_told_again_after_it_was_over() -> None:
    good = curve(200, floor=0.02, noise=0.1)
    collapsed = [*good, *[2.3] * 20, *good[100:], *[2.4] * 20]
    assert [why for _, why in found(collapsed)] == ["blown up"] * 2


def test_a_state_from_before_the_first_high_window_is_good() -> None:
    check = LossCheck()
    for window in range(10):
        check.window(1 + window * WINDOW, [1.0] * WINDOW)
    assert check.window(51, [20.0] * WINDOW) is None
    assert check.window(56, [30.0] * WINDOW) == Trouble(51, "blown up", 30.0, usual=1.0)


def test_what_is_not_finite_is_told_at_once_whoever_has_it_and_after_a_blow_up_too() -> None:
    check = LossCheck()
    assert check.step(1, 2.3) is None
    assert check.step(2, math.inf, member=2) == Trouble(2, "infinite", math.inf, member=2)
    assert check.step(3, math.nan) is None  # told once
    check = LossCheck()
    assert found([1.0, 1.0, math.nan]) == [(5, "not a number")]
    for window in range(10):
        check.window(1 + window * WINDOW, [1.0] * WINDOW)
    check.window(51, [20.0] * WINDOW)
    assert check.window(56, [30.0] * WINDOW) is not None
    later = check.weights(60)
    assert later is not None
    assert (later.step, later.told()) == (61, "the weights are not finite after step 60")


def test_a_window_of_before_that_is_told_later_says_nothing_of_what_is_wrong_now() -> None:
    check = LossCheck()
    assert check.step(7, math.nan) is not None
    assert check.window(1, [1.0] * WINDOW) is None
    assert check.trouble is not None
    assert check.window(6, [1.0, math.nan, math.nan]) is None
    check.window(9, [1.0] * WINDOW)
    assert check.trouble is None

"""The time that is left: it follows what a step takes, and does not jump with every few of them."""

from __future__ import annotations

from random import Random

import pytest

from motley.console.state.pace import Pace


def test_the_pace_of_uneven_steps_hardly_moves_within_seconds() -> None:
    """Bursts of a second in which all is slower by half, as on machines that do other things too."""
    chance, pace = Random(1), Pace()
    seen = []
    for second in range(120):
        slow = 1.5 if chance.random() < 0.3 else 1.0
        for _ in range(16):
            pace.add(60.0 * slow * chance.uniform(0.7, 1.3))
        if second >= 60:
            seen.append(pace.ms or 0.0)
    assert max(after / before for before, after in zip(seen, seen[7:], strict=False)) < 1.1
    assert min(after / before for before, after in zip(seen, seen[7:], strict=False)) > 0.9


@pytest.mark.parametrize(("before", "after"), [(200.0, 100.0), (100.0, 300.0), (60.0, 20.0)])
def test_a_change_comes_in_within_a_minute_and_never_in_a_leap(before: float, after: float) -> None:
    """Of the time that is left: a leap of half of it within two seconds was seen when a host left."""
    pace = Pace()
    for _ in range(int(120_000 / before)):
        pace.add(before)
    seen, passed = [pace.ms or 0.0], 0.0
    while passed < 60_000:
        pace.add(after)
        passed += after
        seen.append(pace.ms or 0.0)
    two_seconds = int(2000 / after)
    assert all(0.8 < late / soon < 1.25 for soon, late in zip(seen, seen[two_seconds:], strict=False))
    assert seen[-1] == pytest.approx(after, rel=0.1)


def test_one_long_step_moves_little() -> None:
    pace = Pace()
    for _ in range(300):
        pace.add(100.0)
    pace.add(2000.0)
    assert pace.ms == pytest.approx(113.0, rel=0.01)


def test_without_a_step_there_is_no_pace() -> None:
    assert Pace().ms is None

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


def test_steps_before_a_change_of_the_split_are_forgotten_once_the_new_one_is_known() -> None:
    pace = Pace()
    for _ in range(300):
        pace.add(200.0)
    pace.changed()
    for _ in range(40):
        pace.add(100.0)
    assert pace.ms == pytest.approx(187, abs=8)  # 4 s tell little
    for _ in range(20):
        pace.add(100.0)
    assert pace.ms == pytest.approx(100.0)


def test_without_a_step_there_is_no_pace() -> None:
    assert Pace().ms is None

"""Clocks of hosts: a measure that came late does not turn a clock that is right into one that is slow."""

from __future__ import annotations

import pytest

from motley.remote.diagnosis.host_clocks import Clocks, Lateness
from motley.remote.feed import Link


def beat(ahead_s: float, on_its_way_s: float, *, late_s: float = 0.0) -> Link:
    return Link(
        host="box1", up=True, text="connected", clock_offset_s=ahead_s - on_its_way_s, clock_late_s=late_s
    )  # fmt: skip


def test_a_first_beat_that_came_after_a_long_history_moves_no_clock_that_may_be_right() -> None:
    clocks = Clocks()
    clocks.hear(beat(0.0, 6.6, late_s=7.5))
    assert clocks.at("box1", 1000.0) == 1000.0
    clocks.hear(beat(0.0, 0.01))
    assert clocks.at("box1", 1000.0) == pytest.approx(1000.0, abs=0.02)


@pytest.mark.parametrize("ahead_s", [-3600.0, 3600.0])
def test_a_clock_that_is_wrong_all_the_same_is_put_right_at_once(ahead_s: float) -> None:
    clocks = Clocks()
    clocks.hear(beat(ahead_s, 2.0, late_s=3.0))
    assert clocks.at("box1", 1000.0 + ahead_s) == pytest.approx(1000.0, abs=3.0)
    clocks.hear(beat(ahead_s, 0.01))
    assert clocks.at("box1", 1000.0 + ahead_s) == pytest.approx(1000.0, abs=0.02)


def test_a_small_error_is_known_from_the_second_beat_on() -> None:
    clocks = Clocks()
    clocks.hear(beat(-0.5, 2.0, late_s=3.0))
    clocks.hear(beat(-0.5, 0.0))
    assert clocks.at("box1", 999.5) == 1000.0


def test_beats_that_wait_behind_a_long_history_are_late_until_one_is_read_as_it_comes() -> None:
    lateness, clocks = Lateness(asked_at=100.0), Clocks()
    read_at = [*(109.0 + 0.01 * n for n in range(8)), 109.5, 110.5]  # the host wrote one a second
    for n, at in enumerate(read_at):
        late_s = lateness.of(at, 101.5 + n)
        assert late_s == (at - 100.0 if n < 9 else 0.0)
        clocks.hear(Link(host="box1", up=True, text="", clock_offset_s=101.5 + n - at, clock_late_s=late_s))
        assert clocks.offset_s("box1") == pytest.approx(0.0, abs=0.01)

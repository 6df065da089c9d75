"""Which sizes a device is measured with: as far apart as the time allows, and none of them cold."""

from __future__ import annotations

import pytest

from motley.profiles.cost_line import Point, Shape, fit
from motley.trainer.errors import OutOfMemory
from motley.trainer.trials.measured_sizes import affordable, sizes, steady_ms
from motley.trainer.verbs.calibrate import BLOCK, LEAST_ROUNDS, timings
from tests.trainer.trials.stand_in_device import Device

STEPS = LEAST_ROUNDS * (BLOCK + 1)


@pytest.mark.parametrize(
    ("batch", "cap", "found"),
    [
        (256, None, (16, 32, 64, 128, 256)),
        (256, 40, (2, 5, 10, 20, 40)),  # never above max_batch
        (3, None, (1, 3)),
        (3, 1, (1,)),
    ],
)
def test_the_sizes_go_up_to_the_whole_batch_of_a_step(batch: int, cap: int | None, found: tuple[int, ...]) -> None:
    assert sizes(batch, cap) == found


def test_a_fast_device_is_measured_with_all_sizes_and_a_slower_one_with_as_many_as_there_is_time_for() -> None:
    ladder = sizes(256, None)
    assert affordable(Device(), ladder, 8.0, steps=STEPS) == list(ladder)
    assert affordable(Device(), ladder, 0.8, steps=STEPS) == [16, 32, 128]
    assert affordable(Device(), ladder, 0.2, steps=STEPS) == [16, 32]  # a line wants two


def test_a_card_whose_small_steps_take_nearly_as_long_is_measured_up_to_the_batch_of_a_run() -> None:
    """300 ms for a sample, 460 ms for 16: those of 1, 2 and 4 use the time up, and say little of 16."""
    card = Device(fixed_ms=290.0, per_sample_ms=10.0)
    found = affordable(card, sizes(16, None), 8.0, steps=STEPS)
    assert (found[0], found[-1]) == (1, 16)
    rows = timings(card, found, 8.0, lambda: card.now)
    line = fit([Point(t.batch, t.step_ms, t.steps) for t in rows], Shape(0.1, 0.25, 1), noise=0.01)
    assert line.at(16).ms == pytest.approx(451, rel=0.05)
    assert line.at(128).ms == pytest.approx(1571, rel=0.1)


def test_a_cold_card_spoils_neither_the_sizes_nor_the_figures() -> None:
    """Its first 12 steps take ten times as long, and those after them fall to what they are at last."""

    def cold(number: int) -> float:
        return 10.0 if number < 12 else 1.0 + 2.0 * 0.8 ** (number - 12)

    card, awake = Device(fixed_ms=20.0, per_sample_ms=1.0, cold=cold), Device(fixed_ms=20.0, per_sample_ms=1.0)
    ladder = sizes(64, None)
    found = affordable(card, ladder, 8.0, steps=STEPS)
    assert found == affordable(awake, ladder, 8.0, steps=STEPS) == list(ladder)
    for row in timings(card, found, 8.0, lambda: card.now):
        assert row.compute_ms == pytest.approx(20.0 + row.batch, rel=0.01)


def test_a_size_is_warm_when_its_steps_get_no_faster() -> None:
    assert steady_ms(Device(cold=lambda number: max(1.0, 8.0 / (number + 1))), 64) == 35.0
    slower = Device(cold=lambda number: 1.0 + number)
    assert steady_ms(slower, 64) == 69.0
    assert len(slower.steps) == 3


def test_a_very_slow_device_is_measured_with_smaller_sizes_and_ends() -> None:
    device = Device(per_sample_ms=500.0)
    assert affordable(device, sizes(256, None), 8.0, steps=STEPS) == [4, 8, 16]
    assert device.now < 200.0


def test_what_does_not_fit_into_memory_is_left_out_and_nothing_at_all_is_an_error() -> None:
    assert affordable(Device(room=70), sizes(256, None), 8.0, steps=STEPS) == [16, 32, 64]
    assert affordable(Device(room=5), sizes(256, None), 8.0, steps=STEPS) == [4]
    with pytest.raises(OutOfMemory, match="one sample does not fit"):
        affordable(Device(room=0), sizes(256, None), 8.0, steps=STEPS)

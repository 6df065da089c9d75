"""How many samples of a pass fit: said as far as it was measured, and no further."""

from __future__ import annotations

from typing import Any

import pytest

from motley.trainer.trials.pass_room import FURTHER, LONG_S, room_by_peaks, room_for_longest

NONE: dict[str, Any] = {"max_batch": None, "fits_at_least": None, "sample_mib": None}


class Card:
    """A pass takes `fixed_mib`, and so much a sample; of its longest sample `fit` fit, each pass in `pass_s`."""

    def __init__(
        self,
        *,
        fixed_mib: float = 1000.0,
        each_mib: float = 7.5,
        room: float = 8000.0,
        fit: int = 0,
        pass_s: float = 0.1,
    ) -> None:
        self.now, self.tried = 0.0, list[int]()
        self._fixed_mib, self._each_mib, self._room, self._fit, self._pass_s = fixed_mib, each_mib, room, fit, pass_s

    def peak_mib(self, batch: int) -> float:
        return self._fixed_mib + self._each_mib * batch

    def room_mib(self) -> float:
        return self._room

    def longest_that_fit(self, most: int) -> int:
        return min(most, self._fit)

    def longest_fits(self, times: int) -> bool:
        self.tried.append(times)
        self.now += self._pass_s
        return times <= self._fit

    def clock(self) -> float:
        return self.now


def test_the_most_that_fit_follows_from_two_sizes_where_these_carry_so_far() -> None:
    assert room_by_peaks(Card(), [16, 256]) == {"max_batch": 826, "fits_at_least": None, "sample_mib": 7.5}
    assert room_by_peaks(Card(room=1200.0), [16, 256])["max_batch"] == 256  # which was done


def test_what_lies_far_beyond_what_was_measured_is_not_said_to_fit() -> None:
    """Two tiny batches on a large card: each sample takes next to nothing, or nothing at all."""
    tiny = room_by_peaks(Card(each_mib=0.001, room=143_000.0), [1, 2])
    assert tiny == {"max_batch": None, "fits_at_least": 2 * FURTHER, "sample_mib": pytest.approx(0.001)}
    assert room_by_peaks(Card(each_mib=0.0), [1, 2]) == {**NONE, "fits_at_least": 2}
    assert room_by_peaks(Card(), [4, 4]) == {**NONE, "fits_at_least": 4}


def test_of_the_longest_sample_it_is_tried_as_far_as_a_plan_looks() -> None:
    for fit, found, tried in (
        (5, {**NONE, "max_batch": 5}, []),
        (40, {**NONE, "max_batch": 32}, [32, 64]),
        (10**6, {**NONE, "fits_at_least": 128}, [32, 64, 128]),
    ):
        card = Card(fit=fit)
        assert room_for_longest(card, 16, card.clock) == found
        assert card.tried == tried


def test_passes_beyond_the_batch_of_a_step_end_when_one_takes_long() -> None:
    card = Card(fit=10**6, pass_s=LONG_S + 1)
    assert room_for_longest(card, 16, card.clock) == {**NONE, "fits_at_least": 32}

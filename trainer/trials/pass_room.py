"""How many samples of one pass fit into a GPU's memory, as far as it was measured. `trainer.verbs.calibrate` asks.

The answer is of three figures: `max_batch`, the most that fit; where more were never tried, nor follow from what was,
None, and `fits_at_least` says how many do; and `sample_mib`, what one takes.

    >>> room_by_peaks(bench, [16, 256])
    {'max_batch': 900, 'fits_at_least': None, 'sample_mib': 7.5}
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from motley.profiles.plan import FACTORS

ROOM = 0.9  # of the device's memory that a pass may fill
FURTHER = max(FACTORS)  # times what was measured, a line through it holds; a plan looks as far
LONG_S = 4.0  # a pass beyond the batch of a step that takes longer is the last


class Peaks(Protocol):
    """What knows the memory of a step."""

    def peak_mib(self, batch: int, /) -> float: ...
    def room_mib(self) -> float: ...


class Longest(Protocol):
    """What can try passes of its longest sample."""

    def longest_that_fit(self, most: int, /) -> int: ...
    def longest_fits(self, times: int, /) -> bool: ...


UNKNOWN: dict[str, Any] = {"max_batch": None, "fits_at_least": None, "sample_mib": None}


def room_by_peaks(bench: Peaks, batches: Sequence[int]) -> dict[str, Any]:
    """From the peaks of the smallest and of the largest size that were measured."""
    small, large = batches[0], batches[-1]
    if small == large:
        return {**UNKNOWN, "fits_at_least": large}
    low, high = bench.peak_mib(small), bench.peak_mib(large)
    sample_mib = (high - low) / (large - small)
    if sample_mib <= 0:  # it is all workspace, or a model's own
        return {**UNKNOWN, "fits_at_least": large}
    room = (bench.room_mib() * ROOM - high) / sample_mib
    if room + large > FURTHER * large:
        return {"max_batch": None, "fits_at_least": FURTHER * large, "sample_mib": sample_mib}
    return {"max_batch": large + max(0, int(room)), "fits_at_least": None, "sample_mib": sample_mib}


def room_for_longest(bench: Longest, batch: int, clock: Callable[[], float] = time.monotonic) -> dict[str, Any]:
    """Where samples differ in length: how many of the longest were done in a pass. A step of `batch` samples is tried,
    and then what a plan may ask for."""
    fits = bench.longest_that_fit(batch)
    if fits < batch:
        return {**UNKNOWN, "max_batch": fits}
    for times in FACTORS[1:]:
        began = clock()
        if not bench.longest_fits(batch * times):
            return {**UNKNOWN, "max_batch": fits}
        fits = batch * times
        if clock() - began > LONG_S:
            break
    return {**UNKNOWN, "fits_at_least": fits}

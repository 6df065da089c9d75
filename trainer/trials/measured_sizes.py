"""Which batch sizes a device is measured with: as far apart as there is time for, each warm. `trainer.verbs.calibrate`
asks before it measures.

    >>> sizes(256, None)
    (16, 32, 64, 128, 256)
    >>> affordable(bench, sizes(256, None), budget_s=8.0, steps=8)
    [16, 32, 64, 128, 256]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from motley.trainer.errors import OutOfMemory
from motley.trainer.trials.timed_threads import Steps

SIZES = 5  # each twice the next
LEAST_SIZES = 2  # a line wants them, however slow the device
LEAST_BATCH = 4
COLD_PART, COLD_MOST_MS = 1 / 8, 1000.0  # of the budget, and at most: steps that a device does first, to be awake
COLD_STEPS = 1000  # at most
FASTER, AS_FAST, STEADY_STEPS = 0.95, 2, 30  # a size is warm when so many steps were no faster; steps at most


def sizes(batch: int, cap: int | None) -> tuple[int, ...]:
    """Batch sizes up to the whole batch of a step, as a device alone would have it; the smallest first."""
    top = min(batch, cap or batch)
    return tuple(sorted({max(1, top >> halvings) for halvings in range(SIZES)}))


def affordable(bench: Steps, ladder: Sequence[int], budget_s: float, *, steps: int) -> list[int]:
    """The sizes to measure, each done before: what fits into memory, and of that what there is time for. `steps`: of
    one size, at least.

    A card's small steps may take nearly as long as its large ones, so what all up to a size take together says little:
    the smallest and the largest go first. A device too slow even for two of them is measured with smaller ones. Raises
    OutOfMemory when nothing fits.
    """
    took: dict[int, float] = {}  # ms of all steps of a size
    left_ms = budget_s * 1000
    awake = False
    rest = list(ladder)
    while rest:
        size = rest.pop(0)
        if not bench.warm_up(size, 1):
            if took or size == 1:
                break
            rest = [max(1, size // 4)]  # not even the smallest fits
            continue
        if not awake:
            _wake(bench, size, min(left_ms * COLD_PART, COLD_MOST_MS))
            awake = True
        ms = steady_ms(bench, size) * steps
        if not took and ms > left_ms / 2 and size > LEAST_BATCH and rest:
            rest = [max(1, size // 4), max(1, size // 2), size]
            left_ms = 4 * ms  # what these three take
            continue
        took[size] = ms
        if len(took) > 1 and took[min(took)] + ms > left_ms:
            break  # nor is there time for a larger one
    if not took:
        raise OutOfMemory("one sample does not fit into its memory", "Leave this device out")
    return _widest(took, left_ms)


def steady_ms(bench: Steps, batch: int) -> float:
    """What a step takes once it gets no faster: kernels are loaded, chosen and compiled in the first ones, and memory
    is taken from the driver."""
    best, as_fast = bench.step(batch)[1], 0
    for _ in range(STEADY_STEPS):
        ms = bench.step(batch)[1]
        as_fast = 0 if ms < FASTER * best else as_fast + 1
        best = min(best, ms)
        if as_fast == AS_FAST:
            break
    return best


def _wake(bench: Steps, batch: int, ms: float) -> None:
    """Steps for so long: a card that has slept has low clocks at first."""
    for _ in range(COLD_STEPS):
        if ms <= 0:
            break
        ms -= bench.step(batch)[1]


def _widest(took: Mapping[int, float], left_ms: float) -> list[int]:
    """The smallest, and the largest that there is time for besides; then of the others the larger ones first."""
    smallest, *others = sorted(took)
    found = [smallest]
    left_ms -= took[smallest]
    for size in reversed(others):
        if took[size] <= left_ms or (len(found) < LEAST_SIZES and size == others[0]):
            found.append(size)
            left_ms -= took[size]
    return sorted(found)

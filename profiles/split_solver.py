"""How many samples each rank gets: exact splits of a whole number. Pure functions.

Called by the balancing policies of the trainer and by the planner. A rank's cost is the line `t(b) = a + c b`:

    >>> split([(0, 1), (0, 2)], 30)  # the first rank is twice as fast
    (20, 10)
    >>> split([(5, 1), (0, 2)], 30, caps=[None, 8])
    (22, 8)
    >>> scaled((20, 10), 10)  # the last, smaller batch of an epoch
    (7, 3)

A share of 0 costs `t(0) = a`, not nothing: DDP needs a dummy pass of that rank. The best split is the same under
either reading, because nothing that a split can do changes what the ranks without samples cost.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import NamedTuple

_ITERATIONS = 200  # of the search for the level; it needs about ten


class SplitError(ValueError):
    """The samples can't be shared out like this: says by how much, and what to change."""


class _Row(NamedTuple):
    """One rank: its line, and the fewest and most samples it may have."""

    a: float
    c: float
    low: int
    high: int


def split(
    costs: Sequence[tuple[float, float]],
    total: int,
    *,
    caps: Sequence[int | None] | None = None,
    minimums: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """The shares with the smallest `max_i a_i + c_i b_i` whose sum is `total`.

    `costs` holds `(a, c)` of each rank in any one unit of time, `a >= 0` and `c > 0`. A cap of None is no cap.
    Raises `SplitError` when caps, minimums or costs leave no answer.

    The result is that of the greedy rule "the next sample goes to the rank that would be done with it first, ties
    to the lower rank", which is optimal for any non-decreasing t (Fox 1966, discrete optimization via marginal
    analysis). The greedy part only places the last samples: all that fit safely below the continuous optimum
    are placed at once, found by bisection on the time T with Newton steps.
    """
    rows = _rows(costs, total, caps, minimums)
    level, below = _level(rows, total, slack=max(1.0, len(rows) / 2))
    # The margin outweighs the rounding of (T - a) / c, so every sample placed here is one that greedy places too.
    level -= abs(level) * 2.0**-46
    shares = [_placed(row, level) for row in rows] if below else [row.low for row in rows]
    heap = [(row.a + row.c * (b + 1), i) for i, (row, b) in enumerate(zip(rows, shares)) if b < row.high]
    heapq.heapify(heap)
    for _ in range(total - sum(shares)):
        i = heap[0][1]
        shares[i] += 1
        a, c, _low, high = rows[i]
        if shares[i] < high:
            heapq.heapreplace(heap, (a + c * (shares[i] + 1), i))
        else:
            heapq.heappop(heap)
    return tuple(shares)


def finish(costs: Sequence[tuple[float, float]], shares: Sequence[int]) -> float:
    """The time of the slowest rank, in the unit of the costs: what `split` makes as small as it can be."""
    return max(a + c * b for (a, c), b in zip(costs, shares))


def equal_split(total: int, ranks: int, caps: Sequence[int | None] | None = None) -> tuple[int, ...]:
    """As equal as caps allow; what does not divide goes to the first ranks."""
    return split([(0.0, 1.0)] * ranks, total, caps=caps)


def proportional_split(
    speeds: Sequence[float],
    total: int,
    caps: Sequence[int | None] | None = None,
    minimums: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """Shares in proportion to `speeds` (samples/s), rounded by largest remainder, ties to the lower rank.

    Ranks held by a cap or a minimum keep it, and the others share what is left in proportion.
    """
    for rank, speed in enumerate(speeds):
        if not (math.isfinite(speed) and speed > 0):
            raise SplitError(f"the speed of rank {rank} is {speed}; give a number above 0")
    rows = _rows([(0.0, 1.0 / s) for s in speeds], total, caps, minimums)
    level, _ = _level(rows, total, slack=total * 1e-12)
    exact = [min(max((level - row.a) / row.c, row.low), row.high) for row in rows]
    shares = [math.floor(x) for x in exact]
    first = sorted(range(len(rows)), key=lambda i: (round(shares[i] - exact[i], 9), i))
    while (left := total - sum(shares)) > 0:
        for i in [i for i in first if shares[i] < rows[i].high][:left]:
            shares[i] += 1
    return tuple(shares)


def scaled(shares: Sequence[int], count: int) -> tuple[int, ...]:
    """`count` samples in proportion to `shares`, by largest remainder, ties to the lower rank; in exact integers.

    Used for the last, smaller batch of an epoch. A rank with share 0 gets none unless all have 0, and no rank gets
    more than its share while `count` is at most the sum of them, so caps still hold.
    """
    if not shares:
        raise SplitError("there are no ranks to share among")
    if count < 0 or min(shares) < 0:
        raise SplitError("a number of samples can't be below 0")
    whole = sum(shares)
    if whole == 0:
        return equal_split(count, len(shares))
    parts = [divmod(share * count, whole) for share in shares]
    left = count - sum(quotient for quotient, _ in parts)
    extra = set(sorted(range(len(parts)), key=lambda i: (-parts[i][1], i))[:left])
    return tuple(quotient + (i in extra) for i, (quotient, _) in enumerate(parts))


def _placed(row: _Row, level: float) -> int:
    return min(max(math.floor((level - row.a) / row.c), row.low), row.high)


def _level(rows: Sequence[_Row], total: int, slack: float) -> tuple[float, bool]:
    """A time T at which the ranks could do between `total - slack` and `total` samples, in real numbers.

    That number grows with T in straight pieces, so a Newton step lands on the answer once the piece is right, and
    bisection holds it within bounds until then. The flag says whether any T was found at or below `total`.
    """
    low = min(row.a + row.c * row.low for row in rows)
    high = max(row.a + row.c * row.high for row in rows)
    best, found = low, False
    speed = sum(1.0 / row.c for row in rows)
    level = min(max((total + sum(row.a / row.c for row in rows)) / speed, low), high)  # the answer without bounds
    for iteration in range(_ITERATIONS):
        done = slope = 0.0
        for a, c, least, most in rows:
            b = (level - a) / c
            if b <= least:
                done += least
            elif b >= most:
                done += most
            else:
                done += b
                slope += 1.0 / c
        if done <= total:
            best, low, found = level, level, True
            if done >= total - slack:
                break
        else:
            high = level
        step = level + (total - slack / 2 - done) / slope if slope else high
        newton = low < step < high and iteration % 4 != 3
        level = step if newton else low + (high - low) / 2
        if not low < level < high:
            break
    return best, found


def _rows(
    costs: Sequence[tuple[float, float]],
    total: int,
    caps: Sequence[int | None] | None,
    minimums: Sequence[int] | None,
) -> list[_Row]:
    """The ranks, once it is sure that an answer exists."""
    ranks = len(costs)
    if not ranks:
        raise SplitError("there are no ranks to share among")
    if total < 0:
        raise SplitError(f"the batch is {total} samples; it can't be below 0")
    for name, given in (("caps", caps), ("minimums", minimums)):
        if given is not None and len(given) != ranks:
            raise SplitError(f"{len(given)} {name} for {ranks} ranks; give one for each")
    lows = [0] * ranks if minimums is None else list(minimums)
    highs = [total] * ranks if caps is None else [total if cap is None else min(cap, total) for cap in caps]
    if min(lows) < 0 or min(highs) < 0:
        raise SplitError("caps and minimums can't be below 0")
    if (least := sum(lows)) > total:
        raise SplitError(
            f"the minimums add up to {least} samples, {least - total} more than the batch of {total}; "
            f"lower the minimums or raise the global batch to {least}"
        )
    for rank, (low, high) in enumerate(zip(lows, highs)):
        if low > high:
            raise SplitError(f"rank {rank} has a minimum of {low} samples and a cap of {high}; lower the minimum")
    if (most := sum(highs)) < total:
        raise SplitError(
            f"the caps add up to {most} samples, {total - most} fewer than the batch of {total}; "
            f"raise the caps, add ranks, or lower the global batch to {most}"
        )
    rows = [_Row(float(a), float(c), low, high) for (a, c), low, high in zip(costs, lows, highs)]
    for rank, row in enumerate(rows):
        if not (math.isfinite(row.a) and math.isfinite(row.c) and row.a >= 0 and row.c > 0):
            raise SplitError(f"the cost of rank {rank} is {row.a} + {row.c} b; it must be finite, a >= 0 and c > 0")
    return rows

"""How long a step of several ranks takes, from what each of them needs for its share: pure functions.

All ranks wait for the slowest, and which one that is changes from step to step, since each scatters about its own mean.
So a step takes longer than the longest mean. What is given here is the median of the largest of n normal deviates, of
which each has its own mean and scatter: `P(all <= t) = prod_i Phi((t - m_i) / s_i) = 1/2`.

    >>> slowest_ms([100.0, 20.0], [5.0, 1.0])       # one rank is always the last
    100.0
    >>> slowest_ms([100.0] * 4, [10.0] * 4)         # each is now and then
    109.9...

What a step takes besides (gradients on their way, the exchange between the ranks) no split can change. It is the same
for every split, so it is measured as it is: `rest_ms`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

FAR = 6.0  # standard deviations below the last one: a rank that is never the slowest
HALVINGS = 40


def slowest_ms(means: Sequence[float], scatter: Sequence[float]) -> float:
    """The median time of the slowest rank; `scatter` holds the standard deviation of one step of each, in ms.

    Raises ValueError without ranks.
    """
    last = max(means)
    ranks = [(m, s) for m, s in zip(means, scatter) if m + FAR * s >= last and s > 0]
    low, high = last, max((m + FAR * s for m, s in ranks), default=last)
    slopes = [(m, 1 / (s * math.sqrt(2))) for m, s in ranks]
    half = 0.5 * 2.0 ** len(ranks)  # each factor is twice the part of its normal distribution that is below
    if math.prod([1 + math.erf((low - m) * slope) for m, slope in slopes]) >= half:
        return last
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if math.prod([1 + math.erf((middle - m) * slope) for m, slope in slopes]) < half:
            low = middle
        else:
            high = middle
    return high


def rest_ms(steps: Sequence[tuple[float, float]]) -> float:
    """What a step takes besides its slowest rank's own work: the median of (step, busy) in ms; 0 without steps.

    It may be below 0: a rank whose CPU time is rationed is counted as busy for longer than it was
    (`trainer.balance.cpu_budget`).
    """
    return statistics.median(step - busy for step, busy in steps) if steps else 0.0

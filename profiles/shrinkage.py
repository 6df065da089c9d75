"""How unequal ranks really are, when each was measured with an error: what they have in common counts as well.

The largest of several noisy figures is large mostly by chance. So each figure is drawn towards the mean of all, by as
much as errors of that size explain of the spread: `x_i - (1 - k_i) (x_i - mean)` with `k_i = t^2 / (t^2 + e_i^2)`.
There `t^2` is the variance of the figures less that of their errors (James and Stein 1961; Efron and Morris 1975).
Ranks that differ by much more than their errors stay as they were measured.

    >>> shrink([0.0, 0.1, -0.1], [0.2, 0.2, 0.2])       # errors explain it all
    [(0.0, 0.0), (-0.1, 0.0), (0.1, 0.0)]
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def shrink(figures: Sequence[float], errors: Sequence[float]) -> list[tuple[float, float]]:
    """(what to add to the figure, what to multiply its error with), for each."""
    if len(figures) < 2:
        return [(0.0, 1.0)] * len(figures)
    mean = statistics.fmean(figures)
    real = max(0.0, statistics.variance(figures) - statistics.fmean(e * e for e in errors))
    parts = [real / (real + e * e) if real + e * e > 0 else 1.0 for e in errors]
    return [((1 - k) * (mean - x), math.sqrt(k)) for x, k in zip(figures, parts)]

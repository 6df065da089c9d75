"""The line `t(b) = a + c b` through measured points, with its uncertainty: pure functions for `profiles.cost`.

    >>> line = fit([Point(32, 20.0, 5.0), Point(64, 30.0, 5.0)], Shape(0.1, 0.25, 32), noise=0.05)
    >>> line.at(128)
    Estimate(ms=50.8..., std_ms=2.1...)

Weighted least squares: a point weighs its number of steps over its squared time, as times scatter in proportion to
their size. One batch size does not determine a line, so a prior on its shape is one more row of the system,
`(1 - r) a - r c b = 0` for `a / t(b) = r` (Bayesian linear regression: Bishop 2006, section 3.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

SHAPE, SHAPE_STD = 0.10, 0.25  # a / t(b) before it is measured
SHAPE_STD_LEAST = 0.03
LEAST_MS = 1e-6  # that a step takes, so that other times may be divided by it: of no samples a line may say 0
FLATTEST = 0.02  # least c b as a fraction of t(b), so that no rank seems to be free of charge


@dataclass(frozen=True, slots=True)
class Estimate:
    """A predicted time and the standard error of its mean; one step scatters more, by `CostModel.noise`."""

    ms: float
    std_ms: float


@dataclass(frozen=True, slots=True)
class Point:
    """What is known at one batch size; the weight is in steps."""

    batch: float
    ms: float
    weight: float


@dataclass(frozen=True, slots=True)
class Shape:
    """A prior: `a / t(batch)` is `ratio`, give or take `std`."""

    ratio: float
    std: float
    batch: float


@dataclass(frozen=True, slots=True)
class Line:
    """`t(b) = a + c b` in milliseconds, with the covariance of a and c."""

    a: float
    c: float
    aa: float
    ac: float
    cc: float

    def at(self, batch: float) -> Estimate:
        """Never 0 ms or less."""
        variance = self.aa + 2 * batch * self.ac + batch * batch * self.cc
        return Estimate(max(self.a + self.c * batch, LEAST_MS), math.sqrt(max(variance, 0.0)))

    def shape(self, batch: float) -> Shape:
        """What outlives a change of speed: the ratio of a to the time at `batch`, and how well it is known."""
        batch = max(batch, 1)
        ms = self.at(batch).ms
        ratio = self.a / ms
        by_a, by_c = (1 - ratio) / ms, -ratio * batch / ms
        variance = by_a * by_a * self.aa + 2 * by_a * by_c * self.ac + by_c * by_c * self.cc
        return Shape(ratio, math.sqrt(max(variance, 0.0)) + SHAPE_STD_LEAST, batch)


def fit(points: Sequence[Point], shape: Shape, noise: float) -> Line:
    """The line through the points, `a >= 0` and `c > 0`; `noise` is the relative deviation of one step.

    Raises ValueError when there are no points.
    """
    if not points:
        raise ValueError("nothing was measured yet")
    total = sum(p.weight for p in points)
    level = sum(p.ms * p.weight for p in points) / total
    batch = sum(p.batch * p.weight for p in points) / total
    ratio = max(shape.ratio, 0.01)
    scale = shape.std * level / (ratio + (1 - ratio) * batch / shape.batch)  # std times the time at shape.batch
    by_a, by_c = (1 - ratio) / scale, -ratio * shape.batch / scale
    weights = [p.weight / (noise * p.ms) ** 2 for p in points]
    aa = sum(weights)
    ac = sum(w * p.batch for w, p in zip(weights, points))
    cc = sum(w * p.batch * p.batch for w, p in zip(weights, points))
    at = sum(w * p.ms for w, p in zip(weights, points))
    ct = sum(w * p.ms * p.batch for w, p in zip(weights, points))
    c_alone = ct / cc if cc else 0.0
    aa, ac, cc = aa + by_a * by_a, ac + by_a * by_c, cc + by_c * by_c
    determinant = aa * cc - ac * ac
    a, c = (cc * at - ac * ct) / determinant, (aa * ct - ac * at) / determinant
    if a < 0:
        a, c = 0.0, c_alone
    least = FLATTEST * level / max(1, *(p.batch for p in points))
    if c < least:
        c = least
        a = max(0.0, sum(w * (p.ms - c * p.batch) for w, p in zip(weights, points)) / sum(weights))
    return Line(a, c, cc / determinant, -ac / determinant, aa / determinant)

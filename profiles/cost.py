"""What a batch costs one rank: the line `t(b) = a + c b`, learned while training, with its own uncertainty.

The balancer keeps one `CostModel` a rank and feeds it the times to the last local gradient, a window of steps at a
time. The fits travel with the training state to ranks that join.

    >>> model = CostModel()
    >>> model.observe(64, [31.0, 30.0, 30.5, 96.0, 29.5])  # one step was disturbed
    >>> model.predict(64)
    Estimate(ms=30.2..., std_ms=1.5...)

**Window to figure.** The mean of the steps that lie within 2.5 sigma of the window's median: a one-step M-estimate,
as robust as the median and nearly as exact as the mean (Huber, Robust Statistics, 1981).

**Figures to line.** Weighted least squares over the last 8 batch sizes, each with a running mean whose weight is its
number of steps, forgotten by `MEMORY` a step. At one batch size a prior decides what part of the time is intercept,
`0.10 +- 0.25`; it fades as other sizes are seen. Always `a >= 0` and `c > 0`. See `profiles.cost_line`.

Where samples differ in what they cost, the batch is the work of a step in samples of mean cost, which is another one
in each: windows of nearly the same one are one point of the line then (`observe_varied`).

**Noise.** The larger of two figures: the scatter within windows (median absolute deviation, with the small-sample
factors of Croux and Rousseeuw 1992), and that of whole windows about the line, which sees disturbances that last
longer than a step, as CPU quotas and other users of the machine make them.

**Change.** A window more than 3 standard errors and 10 % off the line is in doubt and waits. As soon as the windows
in doubt, in a row and to the same side, are off by 6 standard errors together and hold 4 steps, the machine has
changed: the level starts anew from them, the shape of the line stays, as a prior. A window that the next one does
not confirm is left out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from motley.profiles.cost_line import SHAPE, SHAPE_STD, SHAPE_STD_LEAST, Estimate, Line, Point, Shape, fit

MEMORY = 0.99  # what is left of a step's weight after the next one
CURVATURE = 0.04  # no machine is exactly affine: relative error per doubling away from a measured batch
NOISE, NOISE_STEPS, NOISE_LEAST = 0.10, 4.0, 0.005  # relative noise of one step, before it is measured
NOISE_MEMORY = 0.99
TRIM = 2.5
CERTAIN, DOUBTFUL, CONFIRMING_STEPS = 6.0, 3.0, 4
SMALLEST_CHANGE = math.log(1.10)
FAR_DOUBLINGS, NEAR_DOUBLINGS = 0.5, 3.0
RECENT_STEPS, FRESH_STEPS = 15, 30
POINTS = 8
ALIKE_DOUBLINGS = 0.25  # batches that are no farther apart are one point, where each step has another one
_MAD_FACTORS = (1.196, 1.495, 1.363, 1.206, 1.200, 1.140, 1.129, 1.107)  # for 2 to 9 values


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The machine became slower (factor above 1) or faster, as seen at one batch size."""

    factor: float
    batch: float
    before_ms: float
    after_ms: float


class CostModel:
    """One rank's cost line. Mutable: `observe` learns. `as_dict` and `from_dict` carry it to another process."""

    __slots__ = (
        "_between",
        "_between_weight",
        "_change",
        "_doubtful",
        "_fit",
        "_points",
        "_shape",
        "_since_change",
        "_within",
        "_within_weight",
    )

    def __init__(self) -> None:
        self._points: tuple[Point, ...] = ()  # the batch measured last at the end
        self._doubtful: tuple[Point, ...] = ()
        self._within = self._between = NOISE**2  # relative variances of one step
        self._within_weight = self._between_weight = NOISE_STEPS
        self._shape = Shape(SHAPE, SHAPE_STD, 1)
        self._change: Change | None = None
        self._since_change = 0
        self._fit: Line | None = None

    @classmethod
    def guess(cls, intercept_ms: float, per_sample_ms: float, batch: float, steps: float = 2.0) -> CostModel:
        """A model from a profile instead of measurements: a line worth `steps` steps measured at `batch`."""
        ms = intercept_ms + per_sample_ms * batch
        model = cls()
        model._points = (Point(batch, ms, steps),)
        model._shape = Shape(intercept_ms / ms, SHAPE_STD_LEAST, batch)
        return model

    @property
    def known(self) -> bool:
        """Whether there is anything to predict from."""
        return bool(self._points)

    @property
    def noise(self) -> float:
        """Relative standard deviation of one step, with what disturbances longer than a step add to it."""
        return math.sqrt(max(self._within, self._between, NOISE_LEAST**2))

    @property
    def change(self) -> Change | None:
        """The last change of the machine, while it is at most 15 steps old."""
        return self._change if self._since_change <= RECENT_STEPS else None

    @property
    def fresh(self) -> bool:
        """Whether the machine was first seen, or changed, at most 30 steps ago: little is known, much is to be won."""
        return self._since_change <= FRESH_STEPS

    @property
    def line(self) -> Line:
        """The fit. Raises ValueError before anything is known."""
        if self._fit is None:
            self._fit = fit(self._points, self._shape, self.noise)
        return self._fit

    def seen_near(self, batch: float) -> bool:
        """Whether it was measured, or profiled, at an eighth to eight times as many samples. Where a rank has had
        none so far, what a sample costs it is not known."""
        return self.known and self._doublings(batch) <= NEAR_DOUBLINGS

    def predict(self, batch: float) -> Estimate:
        """Mean time of a step with `batch` samples. Raises ValueError before anything is known."""
        estimate = self.line.at(batch)
        return Estimate(estimate.ms, math.hypot(estimate.std_ms, CURVATURE * estimate.ms * self._doublings(batch)))

    def observe(self, batch: float, ms: Sequence[float]) -> None:
        """Learn from one window: the times of steps that all had `batch` samples. Times not above 0 are ignored."""
        self._observe(batch, ms, 0.0)

    def observe_varied(self, steps: Sequence[tuple[float, float]]) -> None:
        """Learn from one window whose steps had different batches, which need not be whole numbers: batch and time of
        each. Those of nearly the same batch are taken together, at the mean of it."""
        sound = sorted(step for step in steps if math.isfinite(step[1]) and step[1] > 0)
        while sound:
            group = [step for step in sound if _near(sound[0][0], step[0], ALIKE_DOUBLINGS)]
            sound = sound[len(group) :]
            batch = statistics.fmean(step[0] for step in group)
            self._observe(batch, [ms * self._ratio(batch, own) for own, ms in group], ALIKE_DOUBLINGS)

    def _ratio(self, batch: float, other: float) -> float:
        """How many times as long a step takes with `batch` samples as with `other`."""
        if self._points:
            return self.line.at(batch).ms / self.line.at(other).ms
        return 1.0 if batch == 0 else 1 / (SHAPE + (1 - SHAPE) * other / batch)

    def _observe(self, batch: float, ms: Sequence[float], alike: float) -> None:
        """`alike`: doublings that two batches may be apart to be one point."""
        if batch < 0:
            raise ValueError(f"a batch can't be {batch} samples")
        steps = [x for x in ms if math.isfinite(x) and x > 0]
        if not steps:
            return
        self._since_change += len(steps)
        seen = _typical(batch, steps, self.noise)
        if not self._points:
            self._shape = Shape(SHAPE, SHAPE_STD, max(batch, 1))
        elif not self._fits(seen):
            self._doubt(seen, alike)
            return
        for accident in self._doubtful:
            self._learn_between(accident, alike)
        self._doubtful = ()
        self._learn_within(steps)
        self._learn_between(seen, alike)
        self._points = _merged(self._points, seen, MEMORY ** len(steps), alike)
        self._fit = None

    def _doublings(self, batch: float) -> float:
        """How far a batch lies from the nearest that was measured."""
        return min(abs(math.log2(max(batch, 1) / max(p.batch, 1))) for p in self._points)

    def _off(self, seen: Point) -> tuple[float, float]:
        """How far a window lies from the line: as a log ratio, and the standard error of that."""
        expected = self.predict(seen.batch)
        error = math.hypot(expected.std_ms / expected.ms, self.noise / math.sqrt(seen.weight))
        return math.log(seen.ms / expected.ms), error

    def _fits(self, seen: Point) -> bool:
        """A batch size far from all measured ones always fits: there the line is what is in doubt."""
        ratio, error = self._off(seen)
        return abs(ratio) < max(DOUBTFUL * error, SMALLEST_CHANGE) or self._doublings(seen.batch) > FAR_DOUBLINGS

    def _doubt(self, seen: Point, alike: float) -> None:
        """A window far off the line: an accident, or the machine changed. Start anew once that is sure."""
        new_ratio, _ = self._off(seen)
        self._doubtful = (*(p for p in self._doubtful if (self._off(p)[0] > 0) == (new_ratio > 0)), seen)
        off = sum(abs(ratio) / error for ratio, error in map(self._off, self._doubtful))
        steps = sum(p.weight for p in self._doubtful)
        if off < CERTAIN * math.sqrt(len(self._doubtful)) or steps < CONFIRMING_STEPS:
            return
        before, shape = self.predict(seen.batch), self.line.shape(seen.batch)
        spread = 2 * self.noise
        settled = [  # without a window in which the machine was still changing
            p
            for p in self._doubtful
            if abs(self._off(p)[0] - new_ratio) <= spread * math.sqrt(1 / p.weight + 1 / seen.weight)
        ]
        self._shape, self._points, self._doubtful, self._fit = shape, (), (), None
        for point in settled:
            self._points = _merged(self._points, point, 1.0, alike)
        after = self.predict(seen.batch)
        self._change = Change(factor=after.ms / before.ms, batch=seen.batch, before_ms=before.ms, after_ms=after.ms)
        self._since_change = 0

    def _learn_within(self, steps: Sequence[float]) -> None:
        """The scatter of the steps of one window."""
        if len(steps) > 1:
            # A step that changed the level is no scatter.
            square = min(deviation([math.log(x) for x in steps]), DOUBTFUL * self.noise) ** 2
            weight = self._within_weight * NOISE_MEMORY ** len(steps)
            self._within, self._within_weight = _mean(self._within, weight, square, len(steps))

    def _learn_between(self, seen: Point, alike: float) -> None:
        """How far a window is off the line, beyond the line's own error; only where the line was measured."""
        if any(_near(p.batch, seen.batch, alike) for p in self._points):
            ratio, error = self._off(seen)
            own = error**2 - self.noise**2 / seen.weight
            square = max(min(ratio**2, (DOUBTFUL * error) ** 2) - own, 0.0) * seen.weight
            weight = self._between_weight * NOISE_MEMORY**seen.weight
            self._between, self._between_weight = _mean(self._between, weight, square, seen.weight)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return {
            "points": [asdict(p) for p in self._points],
            "doubtful": [asdict(p) for p in self._doubtful],
            "within": [self._within, self._within_weight],
            "between": [self._between, self._between_weight],
            "shape": asdict(self._shape),
            "change": asdict(self._change) if self._change else None,
            "since_change": self._since_change,
        }

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> CostModel:
        """The model that `as_dict` described. Raises KeyError, TypeError or ValueError for anything else."""
        model = cls()
        model._points = tuple(Point(**p) for p in table["points"])
        model._doubtful = tuple(Point(**p) for p in table["doubtful"])
        model._within, model._within_weight = table["within"]
        model._between, model._between_weight = table["between"]
        model._shape = Shape(**table["shape"])
        model._change = Change(**table["change"]) if table["change"] else None
        model._since_change = table["since_change"]
        return model


def _typical(batch: float, steps: Sequence[float], noise: float) -> Point:
    """One window as a point: the mean of the steps near the median, and how many they are."""
    middle = statistics.median_low(steps)
    near = [x for x in steps if abs(math.log(x / middle)) <= TRIM * noise]
    return Point(batch, statistics.fmean(near), float(len(near)))


def deviation(values: Sequence[float]) -> float:
    """Standard deviation of two values or more, from their median absolute deviation: one far off hardly counts.

    The factors for small samples are those of Croux and Rousseeuw, 1992.
    """
    middle = statistics.median(values)
    count = len(values)
    factor = _MAD_FACTORS[count - 2] if count < 10 else count / (count - 0.8)
    return 1.4826 * factor * statistics.median(abs(x - middle) for x in values)


def _near(one: float, other: float, doublings: float) -> bool:
    return one == other or (min(one, other) > 0 and abs(math.log2(one / other)) <= doublings)


def _merged(points: Sequence[Point], seen: Point, memory: float, alike: float) -> tuple[Point, ...]:
    """The points with one more window: all weigh less, the batch just seen moves to the end.

    Two that are `alike` become their mean: it lies on the line that both lie on.
    """
    faded = [Point(p.batch, p.ms, p.weight * memory) for p in points]
    near = [p for p in faded if _near(p.batch, seen.batch, alike)]
    nearest = min(near, key=lambda p: abs(p.batch - seen.batch), default=None)
    old = nearest or Point(seen.batch, seen.ms, 0.0)
    weight = old.weight + seen.weight
    batch = seen.batch
    if old.batch != seen.batch:
        batch = (old.batch * old.weight + seen.batch * seen.weight) / weight
    now = Point(batch, (old.ms * old.weight + seen.ms * seen.weight) / weight, weight)
    return (*(p for p in faded if p is not nearest), now)[-POINTS:]


def _mean(old: float, old_weight: float, new: float, new_weight: float) -> tuple[float, float]:
    weight = old_weight + new_weight
    return (old * old_weight + new * new_weight) / weight, weight

"""A figure over a whole run in bounded memory: buckets of steps that double in width when there are too many.

The store adds to it once a step; the chart draws its points.

    >>> curve = Curve()
    >>> curve.add(1, total=256.0, weight=0.2)
    >>> curve.points()
    ((1.0, 1280.0),)
"""

from __future__ import annotations

from dataclasses import dataclass

LIMIT = 480


@dataclass(slots=True)
class Bucket:
    first: int
    last: int
    total: float
    weight: float


class Curve:
    """The mean of a bucket is its total over its weight: samples over seconds, or summed loss over samples."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._width = 1
        self._buckets: list[Bucket] = []

    def add(self, step: int, *, total: float, weight: float) -> None:
        if weight <= 0:
            return
        if self._buckets:
            newest = self._buckets[-1]
            if step // self._width == newest.first // self._width:
                if step > newest.last:
                    newest.last = step
                newest.total += total
                newest.weight += weight
                return
        self._buckets.append(Bucket(step, step, total, weight))
        while len(self._buckets) > self._limit:
            self._halve()

    def cut(self, step: int) -> None:
        """Forget what comes after `step`: the run went back to it."""
        self._buckets = [b for b in self._buckets if b.first <= step]

    def points(self) -> tuple[tuple[float, float], ...]:
        """(step, mean) in order, a step in the middle of its bucket."""
        return tuple(((b.first + b.last) / 2, b.total / b.weight) for b in self._buckets)

    def _halve(self) -> None:
        self._width *= 2
        merged: list[Bucket] = []
        for bucket in self._buckets:
            if merged and merged[-1].first // self._width == bucket.first // self._width:
                before = merged[-1]
                before.last = bucket.last
                before.total += bucket.total
                before.weight += bucket.weight
            else:
                merged.append(bucket)
        self._buckets = merged

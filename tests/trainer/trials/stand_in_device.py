"""A device that does no steps, on a clock of its own."""

from __future__ import annotations

from collections.abc import Callable


class Device:
    """A step takes `fixed_ms` and so much a sample, and 1 ms besides the computing; the first after another size takes
    twice that. `cold`: what a step takes times that, by its number, from 0."""

    def __init__(
        self,
        *,
        fixed_ms: float = 2.0,
        per_sample_ms: float = 0.5,
        room: int = 1000,
        cold: Callable[[int], float] = lambda _number: 1.0,
    ) -> None:
        self.now = 0.0
        self.steps: list[int] = []
        self._fixed_ms, self._per_sample_ms, self._room, self._cold = fixed_ms, per_sample_ms, room, cold

    def warm_up(self, batch: int, steps: int) -> bool:
        if batch > self._room:
            return False
        for _ in range(steps):
            self.step(batch)
        return True

    def step(self, batch: int) -> tuple[float, float]:
        again = bool(self.steps) and self.steps[-1] == batch
        ms = (self._fixed_ms + self._per_sample_ms * batch) * (1 if again else 2) * self._cold(len(self.steps))
        self.steps.append(batch)
        self.now += (ms + 1) / 1000
        return ms, ms + 1

"""The one step that the screen shows: every figure of the table and of the header is a part of it.

    >>> window = Window()
    >>> window.add(step)               # of `StepTable`, one that all ranks have spoken of
    >>> shown = window.shown()
    >>> shown.samples_per_s, shown.ranks[0].samples_per_s
    (1240.0, 620.0)

The batch and the share of a rank are those of the newest step. Times jump from step to step, so they are means over the
newest steps of the same group, the same ones for all ranks. A rank's throughput is its share of the cluster's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from motley.console.state.step_table import LEAST_MS, Step

STEPS = 16  # that times are averaged over


@dataclass(frozen=True, slots=True)
class RankPart:
    """What one rank did of the step. Times are means over the window."""

    batch: int
    share: float  # of the step's samples, 0 to 1
    samples_per_s: float | None
    compute_ms: float
    wait_ms: float
    mem_mib: float | None
    gpu_util: float | None
    units_per_s: float | None  # what the task counts besides samples


@dataclass(frozen=True, slots=True)
class ShownStep:
    step: int
    samples: int
    samples_per_s: float | None
    step_ms: float
    loss: float | None
    ranks: dict[int, RankPart]  # by member
    unit: str = ""  # what the task counts besides samples: "tokens"
    units_per_s: float | None = None

    def figures(self) -> dict[str, Any]:
        """What a snapshot has of it besides the ranks."""
        return {
            "loss": self.loss,
            "samples_per_s": self.samples_per_s,
            "unit": self.unit,
            "units_per_s": self.units_per_s,
            "step_ms": self.step_ms,
        }


class Window:
    """The newest steps of one group."""

    def __init__(self) -> None:
        self._steps: deque[Step] = deque(maxlen=STEPS)
        self._shown: ShownStep | None = None

    @property
    def members(self) -> frozenset[int]:
        """Who made the newest step."""
        return frozenset(self._steps[-1].ranks) if self._steps else frozenset()

    @property
    def step(self) -> Step | None:
        return self._steps[-1] if self._steps else None

    def add(self, step: Step) -> None:
        newest = self.step
        if newest is not None and (step.generation != newest.generation or step.step <= newest.step):
            self._steps.clear()
        self._steps.append(step)
        self._shown = None

    def clear(self) -> None:
        """The group is no more: its figures tell of nobody."""
        self._steps.clear()
        self._shown = None

    def shown(self) -> ShownStep | None:
        """Made anew only after a step was added, or a late line to the newest one."""
        if self._steps and (self._shown is None or len(self._shown.ranks) != len(self._steps[-1].ranks)):
            self._shown = _shown(tuple(self._steps))
        return self._shown


def _shown(steps: tuple[Step, ...]) -> ShownStep:
    newest = steps[-1]
    # Between two averages of local SGD nobody waits, so that a step's time differs by rank, and only the sum agrees.
    sums = {member: sum(s.ranks[member].step_ms for s in steps if member in s.ranks) for member in newest.ranks}
    in_all = [sums[m] for m in newest.ranks if all(m in s.ranks for s in steps)] or [sum(s.ms for s in steps)]
    total_ms = max(LEAST_MS, *in_all)
    loss_samples = sum(s.loss_samples for s in steps)
    rate = sum(s.samples for s in steps) * 1000.0 / total_ms if total_ms > LEAST_MS else None
    counted = sum(s.units for s in steps if s.units is not None)
    in_units = rate is not None and counted > 0 and all(s.unit == newest.unit != "" for s in steps)
    ranks: dict[int, RankPart] = {}
    for member, last in newest.ranks.items():
        lines = [s.ranks[member] for s in steps if member in s.ranks]
        share = last.batch / newest.samples if newest.samples else 0.0
        ranks[member] = RankPart(
            last.batch,
            share,
            None if rate is None else rate * share,
            sum(line.compute_ms for line in lines) / len(lines),
            sum(line.wait_ms for line in lines) / len(lines),
            last.mem_mib,
            last.gpu_util,
            sum(line.units or 0 for line in lines) * 1000.0 / total_ms if in_units else None,
        )
    return ShownStep(
        newest.step,
        newest.samples,
        rate,
        total_ms / len(steps),
        sum(s.loss_sum for s in steps) / loss_samples if loss_samples else None,
        ranks,
        newest.unit if in_units else "",
        counted * 1000.0 / total_ms if in_units else None,
    )

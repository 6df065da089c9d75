"""What one rank measured of one step: what balancing goes by. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepWork:
    """Of a task that says what its samples cost. Both count in samples of mean cost."""

    share: int  # that the rank was to have of the step
    work: float  # that its samples came to


@dataclass(frozen=True, slots=True)
class MeasuredStep:
    """One step on one rank."""

    batch: int  # samples
    loss_sum: float
    busy_ms: float  # samples fetched, gradient computed, weights updated: all but waiting. NaN: it was disturbed
    step_ms: float
    threads: int = 0  # that it was computed with; 0 on a GPU
    gpu_util: float = math.nan  # 0 to 100; NaN where the driver says nothing, as on a CPU
    memory_full: float = math.nan  # of a GPU's memory, the part that the peak has taken, 0 to 1
    part: StepWork | None = None  # None: each sample costs the same, so a share is as many samples
    units: float = math.nan  # what the task counts besides samples: tokens; NaN where it counts nothing else

    @property
    def share(self) -> int:
        """Of the step, as shares are counted."""
        return self.batch if self.part is None else self.part.share

    @property
    def work(self) -> float:
        """What its time goes by, in the unit of shares."""
        return self.batch if self.part is None else self.part.work

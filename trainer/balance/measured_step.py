"""What one rank measured of one step: what balancing goes by. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MeasuredStep:
    """One step on one rank."""

    batch: int
    loss_sum: float
    busy_ms: float  # samples fetched, gradient computed, weights updated: all but waiting. NaN: it was disturbed
    step_ms: float
    threads: int = 0  # that it was computed with; 0 on a GPU
    gpu_util: float = math.nan  # 0 to 100; NaN where the driver says nothing, as on a CPU
    memory_full: float = math.nan  # of a GPU's memory, the part that the peak has taken, 0 to 1
    units: float = math.nan  # what the task counts besides samples: tokens; NaN where it counts nothing else

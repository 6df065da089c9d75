"""What a step costs a rank whose CPU time is rationed: by a container, or a batch system.

A quota is granted in periods of a tenth of a second. A rank that has used it up stands still until the next period,
and not only while it computes: also when it should pass on the others' gradients, or while it waits for them anyway.
So the clock alone makes such a rank look quicker than it is. Whatever happens when, a step can't come sooner than its
CPU time is granted: `cpu time / cores granted` is the least that it takes.

    >>> budget = CpuBudget(CpuQuota(), ranks=1)
    >>> budget.begin()
    >>> budget.needs_ms()       # 30 ms of CPU time since, with 0.2 cores
    150.0
"""

from __future__ import annotations

import time
from collections.abc import Callable

from profiles.cgroup import CpuQuota


class CpuBudget:
    """Of one rank; the ranks of a host share what is granted."""

    def __init__(self, quota: CpuQuota, ranks: int, spent_s: Callable[[], float] = time.process_time) -> None:
        self._quota = quota
        self._ranks = ranks
        self._spent_s = spent_s  # CPU time of all threads of this process
        self._cores: float | None = None
        self._began = 0.0
        self.look()

    def look(self) -> None:
        """See what is granted now."""
        cores = self._quota.cores()
        self._cores = None if cores is None else cores / self._ranks

    def begin(self) -> None:
        self._began = self._spent_s()

    def needs_ms(self) -> float:
        """How long the quota takes to grant what was spent since `begin`; 0 where there is none."""
        return 0.0 if self._cores is None else (self._spent_s() - self._began) * 1000 / self._cores

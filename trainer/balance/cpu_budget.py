"""What a step costs a rank whose CPU time is rationed: by a container, or a batch system.

A quota is granted in periods, a tenth of a second by default. A rank that has used it up stands still until the next
one, and not only while it computes: also when it should pass on the others' gradients, or while it waits anyway. So
the clock alone makes such a rank look quicker than it is. Whatever happens when, a step can't come sooner than its CPU
time is granted: `cpu time / cores granted` is the least that it takes.

And the nearer a rank comes to its ration, the more often it stands still just when the others want something of it. For
that a fixed time is counted, `STALL_MS` times what it lacks to a whole core. It is where the fastest splits found by
search lie (0.8, 0.4, 0.2 and 0.2 cores, periods of 20 ms, steps of 150 ms): three samples more on the smallest hosts
made every step a fifth longer, three less a thirtieth.

    >>> budget = CpuBudget(CpuQuota(), ranks=1)
    >>> budget.begin()
    >>> budget.needs_ms()       # 30 ms of CPU time since, with 0.2 cores
    160.0
"""

from __future__ import annotations

import time
from collections.abc import Callable

from motley.profiles.cgroup import CpuQuota

STALL_MS = 12.5


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
        """How long the quota takes to grant what was spent since `begin`, and to recover; 0 where there is none."""
        spent_ms = (self._spent_s() - self._began) * 1000
        if self._cores is None or spent_ms <= 0:
            return 0.0
        return spent_ms / self._cores + STALL_MS * max(0.0, 1 - self._cores)

"""What a script's processes take of their host: CPU time, memory. Read from /proc, cheap enough for every other second.

>>> usage = ProcessUsage(cores=8.0)
>>> usage.look([4711, 4712])        # None: from now on it is known
>>> usage.look([4711, 4712])
Taken(cpu=93.0, mem_mib=1204.0)
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

TICKS = os.sysconf("SC_CLK_TCK")  # a second, in which /proc counts CPU time
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    cpu: float  # percent of all `cores`, 0 to 100, since the look before
    mem_mib: float  # resident; what processes share is counted for each


class ProcessUsage:
    """`cores`: how many the processes may use. `read` gives CPU ticks and pages of a process, None where it is gone."""

    def __init__(
        self,
        *,
        cores: float,
        clock: Callable[[], float] = time.monotonic,
        read: Callable[[int], tuple[int, int] | None] | None = None,
    ) -> None:
        self._cores = cores
        self._clock = clock
        self._read = read or ticks_and_pages
        self._before: dict[int, int] | None = None  # ticks, by process
        self._at = 0.0

    def look(self, pids: Collection[int]) -> Taken | None:
        """None at the first look. A process that came since counts with all that it has used."""
        found = {pid: one for pid in pids if (one := self._read(pid)) is not None}
        ticks = {pid: one[0] for pid, one in found.items()}
        before, now, at = self._before, self._clock(), self._at
        self._before, self._at = ticks, now
        if before is None or now <= at:
            return None
        used_s = sum(max(0, count - before.get(pid, 0)) for pid, count in ticks.items()) / TICKS
        cpu = used_s / (now - at) / self._cores * 100
        return Taken(cpu=min(100.0, cpu), mem_mib=sum(pages for _, pages in found.values()) * PAGE_MIB)


def ticks_and_pages(pid: int) -> tuple[int, int] | None:
    """CPU time in user and kernel mode, and resident pages: proc_pid_stat(5), fields 14, 15 and 24."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12]), int(fields[21])
    except (OSError, ValueError, IndexError):
        return None

"""How often the kernel has ended a process of this machine for lack of memory: who was killed can't tell by himself.

>>> before = oom_kills()
>>> oom_kills() - before     # of any user and any control group since then
0
"""

from __future__ import annotations

from pathlib import Path


def oom_kills(vmstat: Path = Path("/proc/vmstat")) -> int:
    """Since the boot; 0 where the kernel does not say (before Linux 4.13)."""
    try:
        for line in vmstat.read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    except (OSError, ValueError):
        pass
    return 0

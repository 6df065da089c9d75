"""How many cores a process can keep busy. Apart from `profiles.hardware`, for processes that start often."""

from __future__ import annotations

import os
from pathlib import Path

from motley.profiles.cgroup import limits


def usable_cores(root: Path = Path("/")) -> float:
    """`profiles.hardware.probe().cpu_cores` alone, without asking the GPUs."""
    count = float(affinity())
    return min(count, limits(root).cpu_cores or count)


def affinity() -> int:
    """Logical CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS has no affinity

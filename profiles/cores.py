"""How many cores a process can keep busy. Apart from `profiles.hardware`, for processes that start often."""

from __future__ import annotations

import os
from pathlib import Path

from motley.profiles.cgroup import cpu_limit, read


def usable_cores(root: Path = Path("/")) -> float:
    """`profiles.hardware.probe().cpu_cores` alone, without asking the GPUs."""
    count = float(affinity())
    return min(count, cpu_limit(root) or count)


def affinity() -> int:
    """Logical CPUs that this process may run on."""
    return len(_cpus())


def physical_cores(root: Path = Path("/")) -> int:
    """Cores that this process may run on: hyper-threads of one core count once (the kernel's `cputopology.rst`). Where
    the kernel does not tell, every logical CPU is taken for one."""
    folder = root / "sys/devices/system/cpu"
    shared = {read(folder / f"cpu{cpu}/topology/thread_siblings_list").strip() or f"{cpu}" for cpu in _cpus()}
    return len(shared)


def _cpus() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))  # macOS has no affinity

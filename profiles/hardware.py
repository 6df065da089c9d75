"""What a machine has to train with: cores, memory, GPUs. Runs on the hosts, with any Python from 3.10 and no torch.

The preflight runs it over SSH and reads one line of JSON; ranks take their number of threads from it.

    $ python -m motley.profiles.hardware
    {"cpu_model": "AMD Ryzen 7 5800X 8-Core Processor", "cpu_cores": 16.0, "mem_total_mib": 32012.4, …, "gpus": []}

    >>> probe().cpu_cores  # 0.4 in a container that was given 40 % of a core
    0.4

What a control group or an affinity mask withholds does not count as there. Nothing here raises on an odd machine.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from motley.profiles.cgroup import limits, read
from motley.profiles.cores import affinity
from motley.profiles.gpu import Gpu, gpus


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    cpu_model: str
    cpu_count: int  # logical CPUs this process may run on
    cpu_cores: float  # how many of them it can keep busy, quota counted
    mem_total_mib: float | None  # the smaller of the machine's and its control group's; None where it is not said
    mem_available_mib: float | None
    gpus: tuple[Gpu, ...] = ()

    @property
    def threads(self) -> int:
        """A good number of threads for all ranks of the machine together."""
        return max(1, round(self.cpu_cores))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Hardware:
        """What `as_dict` described, also after JSON. Raises KeyError or TypeError for anything else."""
        found = tuple(
            Gpu(**{**gpu, "processes": None if gpu["processes"] is None else tuple(gpu["processes"])})
            for gpu in table["gpus"]
        )
        return cls(**{**table, "gpus": found})


def probe(root: Path = Path("/"), *, cpu_count: int | None = None) -> Hardware:
    """Look at this machine. `root` stands in for `/` and `cpu_count` for the affinity mask, for tests."""
    count = cpu_count or affinity()
    granted = limits(root)
    total, available = _memory(root)
    return Hardware(
        cpu_model=_cpu_model(root),
        cpu_count=count,
        cpu_cores=min(float(count), granted.cpu_cores or float(count)),
        mem_total_mib=_smaller(total, granted.mem_limit_mib),
        mem_available_mib=_smaller(available, granted.mem_free_mib),
        gpus=gpus(),
    )


def _cpu_model(root: Path) -> str:
    """x86 says "model name", small ARM boards "Model"; others only their architecture."""
    text = read(root / "proc/cpuinfo")
    for key in ("model name", "Model", "cpu model", "Hardware"):
        if found := re.search(rf"^{key}\s*:\s*(\S.*)$", text, re.MULTILINE):
            return " ".join(found.group(1).split())
    return platform.processor() or platform.machine() or "unknown"


def _memory(root: Path) -> tuple[float | None, float | None]:
    """MemTotal and MemAvailable in MiB."""
    text = read(root / "proc/meminfo")
    found = {key: int(kib) / 1024 for key, kib in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
    return found.get("MemTotal"), found.get("MemAvailable", found.get("MemFree"))


def _smaller(one: float | None, other: float | None) -> float | None:
    return min((x for x in (one, other) if x is not None), default=None)


if __name__ == "__main__":
    print(json.dumps(probe().as_dict()))

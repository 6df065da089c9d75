"""Which driver NVIDIA's cards need for a torch: pure. `motley check` asks.

>>> needed("CUDA 12.8"), needed("ROCm 6.4")
('525.60.13', '')
>>> newest_for("470.57.02")
'CUDA 11'
"""

from __future__ import annotations

import re

from motley.trainer.devices.names import NVIDIAS, is_nvidias

# Oldest Linux driver for each major version of CUDA; minor versions go with any driver of their major one.
# https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
OLDEST_DRIVER = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}


def needed(build: str) -> str:
    """The oldest driver for a torch of that build; empty where it is not for NVIDIA's cards, or too new to be known."""
    return OLDEST_DRIVER.get(next(iter(numbers(build)), 0), "") if is_nvidias(build) else ""


def is_older(driver: str, than: str) -> bool:
    return numbers(driver) < numbers(than)


def newest_for(driver: str) -> str:
    """What a torch has to be built for at most with that driver, by its major number."""
    fitting = (version for version, oldest in OLDEST_DRIVER.items() if not is_older(driver, oldest))
    return f"{NVIDIAS} {max(fitting, default=11)}"


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))

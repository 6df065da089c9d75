"""What a host says that it measured of a device, looked over before a profile is made from it. Pure.

>>> fault({"device_name": "AMD EPYC", "timings": []})
'no parameters'
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, TypeGuard

from motley.remote.answers import made


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timing:
    batch: int
    compute_ms: float
    step_ms: float
    noise: float
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _ThreadRate:
    threads: int
    samples_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figures:
    """What a profile is made from."""

    device_name: str
    timings: tuple[_Timing, ...]
    parameters: int
    gradient_bytes: int
    max_batch: int | None
    fits_at_least: int | None
    sample_mib: float | None
    threads: int | None
    thread_rates: tuple[_ThreadRate, ...]
    global_batch: int | None  # that a script's own loop says; None for a task, where cluster.toml does


def fault(result: Any) -> str:
    """What is wrong with the figures of a device; empty when nothing is."""
    if not isinstance(result, dict):
        return "there are none"
    try:
        found = made(_Figures, {"fits_at_least": None, **result})
    except ValueError as error:
        return str(error)
    if not found.timings:
        return "there are no timings"
    for row in found.timings:
        if not all(map(positive, asdict(row).values())):
            return f"a timing is {row}"
    memory = (found.max_batch, found.fits_at_least, found.sample_mib)
    known = [x for x in (*memory, found.threads, found.global_batch) if x is not None]
    known += [figure for row in found.thread_rates for figure in asdict(row).values()]
    if not all(map(positive, (found.parameters, found.gradient_bytes, *known))):
        return "a figure of its memory, of its threads or of the model is missing or not above 0"
    return ""


def positive(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and math.isfinite(value) and value > 0

"""A first guess at how fast a device trains, from its name alone, for clusters that were never profiled.

    >>> guess("NVIDIA GeForce RTX 3070", None)
    Guess(matched='GeForce RTX 3070', tflops=20.3, memory_gib=8.0, reaches=0.3)
    >>> guess("AMD Ryzen 7 5800X 8-Core Processor", cores=16).tflops > guess("Intel(R) Core(TM) i5-4570", 4).tflops
    True

GPUs are listed with the single-precision figure and the memory of their makers' data sheets. A CPU's figure is
`logical CPUs / 2 * clock * flops a cycle`, by the generation its name tells. What convolutions reach of these figures
is a rule of thumb for each generation (ResNet-50 in single precision, as NVIDIA's Deep Learning Examples and Lambda's
GPU benchmarks give it): a factor of 2 off is no surprise. A guess decides nothing for long: the first
windows of a run measure.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("catalog.json")
GPU_REACHES = (  # of the figure in the data sheet, in training; the first pattern that is in the entry counts
    (r"V100", 0.6),
    (r"^A100|^A800|^A30", 0.9),  # convolutions in TF32
    (r"^H100|^H20|^GH200|^G?B200", 0.6),
    (r"GeForce RTX [345]|RTX A\d|Ada|Blackwell|^A\d|^L\d|^GB10|Orin", 0.3),  # half of the lanes do integers as well
    (r"\bT4$", 0.3),  # 70 W are not enough for all of it
    (r"RX [79]\d|W7", 0.25),  # counted twice in the data sheet
    (r"", 0.5),
)
CPU_REACHES = 0.6
CROWD = 0.1  # cores share their memory: with n of them each does n ** -0.1 of what it does alone
LAPTOP = 0.75  # of the card of this name, where the catalogue has no laptop's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """`tflops`: single precision, as the data sheet has it. `memory_gib` of a GPU."""

    matched: str
    tflops: float
    memory_gib: float | None
    reaches: float

    @property
    def relative_speed(self) -> float:
        """In one unit for GPUs and CPUs: the part of its TFLOPS that training reaches."""
        return self.tflops * self.reaches


@dataclass(frozen=True, slots=True)
class Core:
    """One generation of CPUs: a pattern of its names, and what one core does."""

    pattern: str
    ghz: float
    flops: int  # a cycle: 32 with two AVX2 FMA units, 16 with one or AVX, 8 with SSE or NEON


def guess(name: str, cores: float | None) -> Guess | None:
    """For a name as torch, nvidia-smi or /proc/cpuinfo give it; `cores`: logical CPUs, for a CPU. None: not known."""
    return _gpu(name) if cores is None else _cpu(name, cores)


def _gpu(name: str) -> Guess | None:
    """The entry with the most words, all of them in the device's name, in their order and whole."""
    words = _words(name)
    found = [entry for entry in _gpus() if _holds(words, _words(entry))]
    if not found:
        return None
    best = max(found, key=lambda entry: len(_words(entry)))
    tflops, memory = _gpus()[best]
    if re.search(r"Laptop|Max-Q", name) and "Laptop" not in best:
        tflops *= LAPTOP
    if (told := re.search(r"(\d+) ?GB\b", name)) and told[0] not in best:
        memory = float(told[1])
    if part := re.search(r"\bMIG (\d)g\.(\d+)gb", name):
        tflops, memory = tflops * int(part[1]) / 7, float(part[2])
    return Guess(matched=best, tflops=tflops, memory_gib=memory, reaches=_reaches(best))


def _reaches(entry: str) -> float:
    return next(part for pattern, part in GPU_REACHES if re.search(pattern, entry))


def _cpu(name: str, cores: float) -> Guess | None:
    for core in _cores():
        if re.search(core.pattern, name, re.IGNORECASE):
            physical = cores / (1 if core.flops <= 8 else 2)  # two threads of a core share its units
            tflops = max(physical, 0.5) * core.ghz * core.flops / 1000
            reaches = CPU_REACHES / max(physical, 1.0) ** CROWD
            return Guess(matched=core.pattern, tflops=tflops, memory_gib=None, reaches=reaches)
    return None


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", re.sub(r"\b(nvidia|amd|with max-q design)\b", "", name.lower()))


def _holds(words: list[str], wanted: list[str]) -> bool:
    rest = iter(words)
    return all(word in rest for word in wanted)


@cache
def _gpus() -> dict[str, tuple[float, float]]:
    return {name: (float(tflops), float(memory)) for name, (tflops, memory) in _table()["gpus"].items()}


@cache
def _cores() -> tuple[Core, ...]:
    return tuple(Core(pattern, float(ghz), int(flops)) for pattern, ghz, flops in _table()["cores"])


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return table

"""Datasets that workers can have: of a module that can be imported by its name."""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path
from typing import Any

import numpy
import torch


class Shaken:
    """Draws from all the random numbers that people draw from."""

    def __init__(self, length: int = 40) -> None:
        self.rows = torch.arange(3.0 * length).reshape(length, 3)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        drawn = [torch.rand(()).item(), random.random(), float(numpy.random.rand())]
        return {
            "x": torch.tensor([number, *drawn], dtype=torch.float64),
            "row": self.rows[number].to(torch.bfloat16),
            "array": numpy.full((2, 2), number, dtype=numpy.int32),
            "empty": torch.empty(0, 4),
            "name": f"sample {number}",
        }


class ByWhom:
    """Samples say which process they come from. `slow`: a file that some of them wait for."""

    def __init__(self, gate: Path | None = None) -> None:
        self._gate = gate

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, number: int) -> tuple[int, int]:
        while self._gate is not None and number >= 900 and not self._gate.exists():
            time.sleep(0.01)
        return number, os.getpid()


class Faulty(ByWhom):
    def __getitem__(self, number: int) -> tuple[int, int]:
        if number == 5:
            raise BrokenPipeError("no such\npicture")
        return super().__getitem__(number)


class Unsendable(ByWhom):
    def __getitem__(self, number: int) -> Any:
        return lambda: number


class WithLock(ByWhom):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

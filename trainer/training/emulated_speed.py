"""A slower host, emulated: what its ranks compute takes longer, what they send does not.

Before a rank hands over the last gradient of a step, it pauses for `(1 / speed - 1)` times what the step's computing
took. So a step takes as long as on a host of that speed, the times that are measured say so, and while a rank pauses
its core is free for the others. What counts is CPU time, not wall time: a rank that has to wait for a core, because the
machine is busy, is slow already. A sleep after the step would show balancing nothing; stopping and continuing the
process would slow its part of the all-reduce as well, which no split can mend.

    >>> slowdown = Slowdown(0.25, cpu_clock())
    >>> slowdown.begin()
    >>> ...                             # 10 ms of computing
    >>> slowdown.pause()                # for 30 ms

`trainer.training.loop` calls it in every step, `trainer.verbs.timed_steps` when a host is measured. A script has no
step of ours: see `trainer.supervisor.duty_cycle`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import torch

from motley.profiles.cores import usable_cores
from motley.trainer.devices import accelerator

OWN_CORES = 0.5  # that are left to the console, and to what ranks do besides computing


class Slowdown:
    """Of one rank. `clock`: seconds of computing so far. At speed 1 nothing is slowed, and no clock is read."""

    def __init__(self, speed: float, clock: Callable[[], float], sleep: Callable[[float], object] = time.sleep) -> None:
        """Raises ValueError for a speed that is not above 0 and at most 1."""
        if not 0 < speed <= 1:
            raise ValueError(f"speed {speed} is not in (0, 1]")
        self._ratio = 1 / speed - 1
        self._clock = clock
        self._sleep = sleep
        self._began = 0.0

    def begin(self) -> None:
        """What is computed from here on is slowed."""
        if self._ratio:
            self._began = self._clock()

    def pause(self) -> None:
        """For what was computed since `begin`, or since the last pause."""
        if self._ratio:
            self._sleep(max(0.0, self._clock() - self._began) * self._ratio)
            self._began = self._clock()


def slowdown_of(speed: float | None, together: float, device: torch.device) -> Slowdown:
    """For a rank on `device`; `speed` is None on a host that is not emulated.

    `together`: the speeds of all ranks that share the device, its own among them; those on the CPU share its cores.
    """
    if speed is None:
        return Slowdown(1.0, time.monotonic)
    if device.type == "cpu":
        return Slowdown(speed * factor(together, usable_cores()), clock_of(device))
    return Slowdown(speed / max(1.0, together), clock_of(device))  # ranks of one GPU take turns


def factor(wanted: float, cores: float) -> float:
    """What to multiply all speeds with, `wanted` together, so that `cores` have room for all ranks at once.

    A rank of speed 0.5 that never waits keeps half a core busy. Where ranks ask for more than there is, chance would
    slow each of them further, and not in proportion to its speed.

    >>> factor(1.0 + 0.5 + 0.25 + 0.25, cores=2)
    0.75
    """
    room = max(cores - OWN_CORES, cores / 2)
    return min(1.0, room / wanted)


def clock_of(device: torch.device) -> Callable[[], float]:
    """Seconds that the calling thread has computed on `device`: on a GPU those that have passed, its work being done.

    The clock of one thread, because others of its process send and receive. Where torch computes in several threads,
    they are at work while this one is. It may be read from any thread: hooks of a GPU's gradients have their own.
    """
    if device.type == "cpu":
        clock = time.pthread_getcpuclockid(threading.get_ident())
        return lambda: time.clock_gettime(clock)

    def passed() -> float:
        accelerator.synchronize(device)
        return time.perf_counter()

    return passed

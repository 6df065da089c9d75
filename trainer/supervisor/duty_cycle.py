"""A slower host, emulated for a script: its processes run `speed` of the time and are stopped for the rest.

The supervisor of a demo host uses it for a run of the user's own script, which has no step that could be told to take
longer (a rank of a task slows itself: `trainer.training.emulated_speed`). What a script sends is slowed as well: its
part of an all-reduce waits while it is stopped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from signal import SIGCONT, SIGSTOP, Signals

from motley.trainer.host import processes

PERIOD_S = 0.005


class DutyCycle:
    """Stops and continues processes. `found()` gives those to slow down now, by pid, with the start time of each."""

    def __init__(self, speed: float, found: Callable[[], Mapping[int, int]]) -> None:
        if not 0 < speed <= 1:
            raise ValueError(f"speed {speed} is not in (0, 1]")
        self._speed = speed
        self._found = found
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="duty cycle", daemon=True)

    def start(self) -> None:
        if self._speed < 1:
            self._thread.start()

    def stop(self) -> None:
        """End the emulation; every process runs again."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        continued = time.monotonic()
        while not self._over.wait(PERIOD_S * self._speed):
            found = self._found()
            _tell(found, SIGSTOP)
            ran_s = time.monotonic() - continued  # longer than planned on a busy machine: the rest is, too
            self._over.wait(ran_s * (1 / self._speed - 1))
            _tell(found, SIGCONT)
            continued = time.monotonic()


def _tell(found: Mapping[int, int], number: Signals) -> None:
    for pid, start in found.items():
        processes.send_to(pid, start, number)

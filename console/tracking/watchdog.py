"""Ends a tracker's process whose library hangs: nothing waits for it then but its files, and another one may go on.

dog = Watchdog(ended)
dog.allow(120.0)       # from now on for the next call into the library
dog.rest()             # nothing is called
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Watchdog:
    def __init__(self, bark: Callable[[float], None]) -> None:
        """`bark` is called on a thread of its own with the seconds that were allowed, when they are over."""
        self._bark = bark
        self._changed = threading.Condition()
        self._due: float | None = None
        self._allowed = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def allow(self, seconds: float) -> None:
        with self._changed:
            self._due, self._allowed = time.monotonic() + seconds, seconds
            self._changed.notify()

    def rest(self) -> None:
        with self._changed:
            self._due = None
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while True:
                left = None if self._due is None else self._due - time.monotonic()
                if left is not None and left <= 0:
                    break
                self._changed.wait(left)
        self._bark(self._allowed)

"""How much work something is, in calls of functions: the same on every machine, however busy it is.

>>> calls(lambda: sorted([3, 1, 2]))
2
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType


def calls(work: Callable[[], object]) -> int:
    """Of functions in Python and in C, from the beginning of `work` to its end."""
    count = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count - 1  # the end of the counting itself

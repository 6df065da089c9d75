"""Ending asyncio tasks for good.

>>> await end([task])
>>> task.done()
True
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN_S = 1.0


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and wait for them. What they failed with is not raised.

    They are cancelled again when that took no effect: below Python 3.12, `asyncio.wait_for` swallows a cancellation
    that comes in the moment in which what it waits for is there.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)

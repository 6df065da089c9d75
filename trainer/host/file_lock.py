"""A lock that processes of this host share: whoever has it is alone, until it lets go or ends.

>>> with locked(folder / "roll.lock"):
...     ...
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path, *, needed: bool = True) -> Iterator[None]:
    """Waits until nobody else has it. Raises OSError when the file can't be opened, or on a disk without locks; there
    one that is not `needed` is done without."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with contextlib.suppress(*[OSError] * (not needed)):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)

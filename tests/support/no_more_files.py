"""A process that has as many files open as it may.

>>> with no_more_files():
...     os.open("/dev/null", os.O_RDONLY)
Traceback (most recent call last):
OSError: [Errno 24] Too many open files
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def no_more_files() -> Iterator[None]:
    """This process can't open another file."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)  # the next that would be given
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

"""How many files and connections this process may have open at once.

>>> raise_limit()
"""

from __future__ import annotations

import contextlib
import resource

ENOUGH = 1 << 16


def raise_limit() -> None:
    """As many as the system grants, up to `ENOUGH`; where it grants no more the limit stays as it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))

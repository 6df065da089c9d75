"""Exit codes of ranks: the supervisor tells the rank that failed from those that only lost it."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    FINISHED = 0
    FAILED = 1
    STOPPED = 4  # asked to, before the end
    PEER_LOST = 5  # another rank went away
    GAVE_UP = 6  # the others did not come

"""Exit codes of ranks: the supervisor tells the rank that failed from those that only lost it.

All but the first two are numbers that no program uses by itself: a rank that runs a script ends with the script's code.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    FINISHED = 0
    FAILED = 1
    STOPPED = 204  # asked to, before the end
    PEER_LOST = 205  # another rank went away
    GAVE_UP = 206  # the others did not come, or could not go on
    STUCK = 207  # its group had broken, and its main thread did not get free: it starts again

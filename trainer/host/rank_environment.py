"""The environment of a process that trains: what was given to it, and what makes torch quick on a CPU.

    >>> of_rank({"HF_HOME": "/data"}, threads=None, local_ranks=2, emulated=False)["OMP_NUM_THREADS"]
    '4'

Whatever the user has set holds.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

from motley.profiles.cores import affinity, usable_cores

# glibc gives large blocks back to the kernel whenever they are freed, and a training step frees the same ones again and
# again: at 139 pictures a step, a third of the CPU time went into clearing those pages anew. 32 MiB is its own limit.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
# OpenMP's threads wait for each other by spinning. Where CPU time is rationed that spends what the others need: of 0.4
# cores two threads made 34 samples/s so, and 477 where waiting sleeps (`simple_cnn/digits`, 32 samples a step).
WAIT = "OMP_WAIT_POLICY"
SPINNING = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")  # which say the same to one of the libraries each
SET_BY_US = ("OMP_NUM_THREADS", WAIT, "TORCH_CPP_LOG_LEVEL", *KEEP_MEMORY)


def of_rank(given: Mapping[str, str], *, threads: int | None, local_ranks: int, emulated: bool) -> dict[str, str]:
    """This process's environment with `given`, for one of `local_ranks` ranks that share the host's cores.

    `threads` is what the run asks for; without it the cores are divided, and an emulated rank has one.
    """
    cores = usable_cores()
    mine = 1 if emulated else _share(cores, local_ranks)
    defaults = {
        "OMP_NUM_THREADS": str(threads or mine),
        "TORCH_CPP_LOG_LEVEL": "ERROR",  # gloo warns where a host's name can't be looked up
        **KEEP_MEMORY,
    }
    theirs = {**os.environ, **given}
    if cores < affinity() and not any(name in theirs for name in SPINNING):
        defaults[WAIT] = "PASSIVE"
    return {**defaults, **theirs}


def threads_of_a_rank(local_ranks: int) -> int:
    """As many as there are cores for it, before anything else is known."""
    return _share(usable_cores(), local_ranks)


def _share(cores: float, local_ranks: int) -> int:
    return max(1, int(cores) // max(1, local_ranks))


def keep_memory() -> None:
    """What `KEEP_MEMORY` has a program do from its start, in a process that was forked; unless something else is set.

    A C library that knows no such limits has none to be set.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for number, name in ((M_MMAP_THRESHOLD, "MALLOC_MMAP_THRESHOLD_"), (M_TRIM_THRESHOLD, "MALLOC_TRIM_THRESHOLD_")):
        value = os.environ.get(name, "")
        if mallopt is not None and value.isdigit():
            mallopt(number, int(value))

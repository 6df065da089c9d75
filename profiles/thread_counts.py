"""How many threads a rank computes with on a CPU: which counts are worth a try, and which of those measured to keep.

The kernel's view of a machine is not enough. A small model gets slower on many cores, hyper-threads share their units,
and where a quota can't be seen, waiting threads spend it: of 0.4 cores without a visible control group two threads made
290 samples/s, one 840. So a few counts are tried, by `motley profile` or in the first steps of a run.

    >>> candidates(16.0, cores=8)           # eight cores of two hyper-threads
    (1, 4, 8, 16)
    >>> fastest({1: 38.0, 2: 110.0})        # ms a step by count
    1
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

ALIKE = 0.05  # of the step's time: counts that differ by less are alike, and the fewest threads leave most to others
WIDEST_GAP = 8  # between two counts that are tried; beyond, one more lies between them


def candidates(cpus: float, *, cores: int, ranks: int = 1) -> tuple[int, ...]:
    """The counts to try, the fewest first: 1, half of the cores, the cores, all that is granted.

    `cpus`: logical CPUs that are granted to the host's ranks, a quota counted; `cores`: physical ones; both are
    divided among the `ranks` of the host that compute at the same time.
    """
    most = max(1, int(cpus) // max(1, ranks))
    physical = max(1, min(most, cores // max(1, ranks)))
    counts = sorted({1, max(1, physical // 2), physical, most})
    between = [round(math.sqrt(low * high)) for low, high in itertools.pairwise(counts) if high > low * WIDEST_GAP]
    return tuple(sorted({*counts, *between}))


def fastest(ms: Mapping[int, float]) -> int:
    """The count to keep, from what a step took with each: the fewest of those that are about as fast as the fastest.

    Raises ValueError when nothing was measured.
    """
    if not ms:
        raise ValueError("no number of threads was measured")
    best = min(ms.values())
    return min(count for count, took in ms.items() if took <= best * (1 + ALIKE))


def rates(ms: Mapping[int, float], samples: int) -> dict[int, float]:
    """Samples a second by count, the fewest threads first. `ms`: of a step with so many samples."""
    return {count: samples / ms[count] * 1000 for count in sorted(ms)}


def words(host: str, found: Mapping[int, float], kept: int) -> str:
    """
    >>> words("box2", {1: 840.2, 2: 290.0}, kept=1)
    'box2 computes with 1 thread: 840 samples/s, with 2: 290'
    """
    others = "".join(f", with {count}: {rate:,.0f}" for count, rate in found.items() if count != kept)
    return f"{host} computes with {kept} thread{'s' * (kept != 1)}: {found[kept]:,.0f} samples/s{others}"

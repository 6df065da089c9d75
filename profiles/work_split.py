"""Which samples of a step each rank takes, where samples differ in what they cost. Pure functions of whole numbers.

The shares are read as proportions of the step's work, not as numbers of samples:

>>> split_work([9, 1, 1, 1, 1, 1, 4], shares=(2, 1))
((0, 1, 3, 4), (2, 5, 6))

**Longest processing time first** (Graham 1969; for machines of different speeds Gonzalez, Ibarra and Sahni 1977): the
most expensive sample left goes to the rank that would finish it first. The rank that finishes last then takes less than
twice what the last one takes in the best of all splits; where all are alike at most 4/3 of it. And it takes at most
`(work + (ranks - 1) w) / speed`, with the work and the speeds of all and w the last sample that it was given: no other
rank would have finished that one sooner. So with many samples a rank nothing is left to be won.

All ranks compute it for themselves. It compares products of whole numbers, so it is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence


def split_work(work: Sequence[int], shares: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """The places in `work` of what each rank takes, in their order. `work`: of each sample, at least 1.

    A rank with share 0 gets none, unless all have 0: then all are alike. Ties go to the earlier sample, and to the
    lower rank.
    """
    if min(shares, default=0) < 0 or not shares:
        raise ValueError(f"shares {tuple(shares)}: give each rank a whole number, at least 0")
    speeds = list(shares) if any(shares) else [1] * len(shares)
    ranks = [rank for rank, speed in enumerate(speeds) if speed]
    loads = [0] * len(speeds)
    taken: list[list[int]] = [[] for _ in speeds]
    for place in sorted(range(len(work)), key=lambda i: (-work[i], i)):
        cost = work[place]
        first = ranks[0]
        ends, speed = loads[first] + cost, speeds[first]
        for rank in ranks[1:]:
            other, its = loads[rank] + cost, speeds[rank]
            if other * speed < ends * its:  # other / its < ends / speed
                first, ends, speed = rank, other, its
        loads[first] = ends
        taken[first].append(place)
    return tuple(tuple(sorted(places)) for places in taken)

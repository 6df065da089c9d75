"""Which samples of an evaluation each rank takes, and which are left when a rank is lost in the middle. Pure.

Ranks tell each other the intervals of samples that they are done with; what nobody is done with is shared out.

>>> left_over(10, [(0, 4), (6, 8)])
[(4, 6), (8, 10)]
>>> parts([(4, 6), (8, 10)], (3, 1))
[[(4, 6), (8, 9)], [(9, 10)]]
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from motley.profiles.split_solver import scaled

Interval = tuple[int, int]  # from a sample to before another


def left_over(count: int, done: Iterable[Interval]) -> list[Interval]:
    """What of the samples 0 to `count` - 1 lies in none of the intervals."""
    left, reached = [], 0
    for start, stop in sorted(done):
        if start > reached:
            left.append((reached, start))
        reached = max(reached, stop)
    return [*left, (reached, count)] if reached < count else left


def parts(left: Sequence[Interval], shares: Sequence[int]) -> list[list[Interval]]:
    """The intervals cut up for the ranks in proportion to their shares; in equal parts where none has any."""
    total = sum(stop - start for start, stop in left)
    sizes = scaled(shares, total)
    found: list[list[Interval]] = []
    rest = list(left)
    for size in sizes:
        mine: list[Interval] = []
        while size:
            start, stop = rest.pop(0)
            taken = min(size, stop - start)
            mine.append((start, start + taken))
            size -= taken
            if start + taken < stop:
                rest.insert(0, (start + taken, stop))
        found.append(mine)
    return found


def batches(part: Sequence[Interval], size: int) -> Iterable[Interval]:
    """A part in pieces of at most `size` samples, in order."""
    for start, stop in part:
        for begin in range(start, stop, size):
            yield begin, min(begin + size, stop)

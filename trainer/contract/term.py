"""Which leader of a run is the newer one: a *term* has two parts, compared in this order. Pure.

`named` counts how often a console has named a leader; `restarts` how often that leader's own supervisor has replaced
its coordinator since. So a leader that was cut off, and replaces its coordinator again and again meanwhile, never comes
before the one that a console has named in its place.

    >>> Term(named=0, restarts=3) < Term(named=0).next_named() < Term(named=1).restarted()
    True
"""

from __future__ import annotations

from typing import Any, NamedTuple

MOST = 2**53  # of either part
OF_A_JOB = 1000  # a start of a Slurm job has this many: consoles may name leaders in it


class Term(NamedTuple):
    """In JSON a list of the two; a whole number is what earlier versions wrote, and is that of a console."""

    named: int = 0
    restarts: int = 0

    def next_named(self) -> Term:
        """Of the next leader that a console names."""
        return Term(self.named + 1)

    def restarted(self) -> Term:
        """Of the same leader, with another coordinator."""
        return Term(self.named, self.restarts + 1)

    @classmethod
    def of_job(cls, restarts: int) -> Term:
        """The first one of a job that Slurm has started so often once more: above all of its starts before."""
        return cls(OF_A_JOB * restarts)

    @classmethod
    def of(cls, value: Any) -> Term:
        """Out of JSON. Raises TypeError or ValueError when it is none.

        >>> Term.of([2, 1]), Term.of(3)
        (Term(named=2, restarts=1), Term(named=3, restarts=0))
        """
        parts = value if isinstance(value, (list, tuple)) else (value,)
        if not 1 <= len(parts) <= 2:
            raise ValueError(f"a term of {len(parts)} parts")
        for part in parts:
            if not isinstance(part, int) or isinstance(part, bool):
                raise TypeError(f"a {type(part).__name__} in a term")
            if not -MOST < part < MOST:
                raise ValueError("a term that is too large")
        return cls(*parts)


FIRST = Term()  # of the leader that a run is started with
NO_TERM = Term(-1)  # of who was in no group yet

"""Does a host hold up the run it takes part in? From what is measured while training: one pure function.

Rank 0 asks now and then, and the console shows the answer as a line of advice:

    >>> verdict(members, total=256, sending_ms=900.0)
    Verdict(host='box3', with_it=196.2, without=254.1)

A step takes as long as the slowest rank's own work, and then the gradients have to be sent. Without a host the others
compute more, and send less far: the time to send shrinks as the ring's does (`profiles.predict`), by the links that
profiles tell of, else as if all links were alike. Both runs are predicted from the same costs, each with the shares
that are best for it: a host is not blamed for shares that do not fit at the moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from motley.profiles.cost_line import Line
from motley.profiles.predict import Candidate, ring_ms
from motley.profiles.split_solver import SplitError, finish, split
from motley.profiles.store import LinkSpeed

WORTH = 1.05  # smaller gains are no advice
ALIKE = LinkSpeed(mbit=1000.0, latency_ms=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One rank: its host, its line `a + c b`, its cap, and its host's link."""

    host: str
    a_ms: float
    c_ms: float
    cap: int | None = None
    link: LinkSpeed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Leave out `host`: samples/s with it and without it."""

    host: str
    with_it: float
    without: float

    @property
    def gain(self) -> float:
        """How many times as fast the run is without it."""
        return self.without / self.with_it

    @property
    def text(self) -> str:
        return f"leave out {self.host}: with it {self.with_it:,.0f} samples/s, without it about {self.without:,.0f}"


def verdict(members: Sequence[Measured], total: int, sending_ms: float) -> Verdict | None:
    """The host whose absence gains most, if that is at least 5 %: see `without_each`."""
    found = without_each(members, total, sending_ms)
    best = max(found, key=lambda verdict: verdict.gain, default=None)
    return best if best is not None and best.gain > WORTH else None


def without_each(members: Sequence[Measured], total: int, sending_ms: float) -> list[Verdict]:
    """The run with and without each host that it can do without. The first member's host, the leader, always stays.

    `sending_ms`: what a step takes besides the slowest rank's own work.
    """
    try:
        now_ms = _best_ms(members, total) + sending_ms
    except SplitError:
        return []
    found = []
    for host in dict.fromkeys(m.host for m in members):
        if host == members[0].host:
            continue
        others = [m for m in members if m.host != host]
        try:
            then_ms = _best_ms(others, total) + sending_ms * _ring(others) / max(_ring(members), 1e-9)
        except SplitError:  # they have no room for the batch
            continue
        found.append(Verdict(host=host, with_it=total / now_ms * 1000, without=total / then_ms * 1000))
    return found


def _best_ms(members: Sequence[Measured], total: int) -> float:
    """The slowest rank's own work with the best shares. Raises SplitError when there is no room for the batch."""
    costs = [(m.a_ms, m.c_ms) for m in members]
    return finish(costs, split(costs, total, caps=[m.cap for m in members]))


def _ring(members: Sequence[Measured]) -> float:
    """The time a ring of these takes, in a unit of its own."""
    known = all(m.link is not None for m in members[1:] if m.host != members[0].host)
    line = Line(0.0, 1.0, 0.0, 0.0, 0.0)
    return ring_ms(
        [
            Candidate(host=m.host, device="", line=line, step_line=line, link=m.link if known else ALIKE)
            for m in members
        ],
        1e6,
    )

"""Does a host hold up the run it takes part in? From what is measured while training: one pure function.

Rank 0 asks now and then, and the console shows the answer as a line of advice:

    >>> verdict(members, total=256, sending_ms=900.0)
    Verdict(host='box3', with_it=196.2, without=254.1)

A step takes as long as the slowest rank's own work, and then the gradients have to be sent. Without a host the others
compute more, and send less far: the time to send shrinks as the ring's does (`profiles.predict`), by the links that
profiles tell of, else as if all links were alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from profiles.line import Line
from profiles.predict import Candidate, ring_ms
from profiles.split import SplitError, finish, split
from profiles.store import LinkSpeed

WORTH = 1.05  # smaller gains are no advice
ALIKE = LinkSpeed(mbit=1000.0, latency_ms=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One rank: its host, its share in samples, its line `a + c b`, its cap, and its host's link."""

    host: str
    share: int
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
    def text(self) -> str:
        return f"leave out {self.host}: with it {self.with_it:,.0f} samples/s, without it about {self.without:,.0f}"


def verdict(members: Sequence[Measured], total: int, sending_ms: float) -> Verdict | None:
    """The host whose absence gains most, if that is at least 5 %. The first member's host, the leader, always stays.

    `sending_ms`: what a step takes besides the slowest rank's own work.
    """
    now_ms = max(m.a_ms + m.c_ms * m.share for m in members) + sending_ms
    best: Verdict | None = None
    for host in dict.fromkeys(m.host for m in members):
        if host == members[0].host:
            continue
        others = [m for m in members if m.host != host]
        costs = [(m.a_ms, m.c_ms) for m in others]
        try:
            shares = split(costs, total, caps=[m.cap for m in others])
        except SplitError:  # they have no room for the batch
            continue
        then_ms = finish(costs, shares) + sending_ms * _ring(others) / max(_ring(members), 1e-9)
        if then_ms * WORTH < now_ms and (best is None or total / then_ms * 1000 > best.without):
            best = Verdict(host=host, with_it=total / now_ms * 1000, without=total / then_ms * 1000)
    return best


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

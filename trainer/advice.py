"""Rank 0's advice while a run goes on: that a host holds it up, or no longer does.

>>> adviser = Adviser(members, total=256, journal=journal)
>>> adviser.look(rows, shares, models)      # once a window; says something only when its mind has changed
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from statistics import median

from profiles.cost import CostModel
from profiles.store import LinkSpeed
from profiles.verdict import Measured, verdict
from trainer.exchange import Row
from trainer.journal import Journal
from trainer.spec import Member

AGREEING = 4  # windows in a row that must say the same
MOST_RANKS = 64  # beyond, looking takes longer than it is worth


class Adviser:
    """Remembers what it said last, and journals an event `advice` when that is no longer so."""

    def __init__(self, members: Sequence[Member], total: int, journal: Journal) -> None:
        self._members = members
        self._total = total
        self._journal = journal
        self._said: str | None = None
        self._seen: list[str | None] = []

    def look(self, rows: Sequence[Sequence[Row]], shares: Sequence[int], models: Sequence[CostModel]) -> None:
        """`rows`: each rank's steps of one window. Nothing before every rank was measured."""
        if not 1 < len(models) <= MOST_RANKS or not all(m.known for m in models) or not all(rows):
            return
        measured = [_measured(*figures) for figures in zip(self._members, shares, models)]
        found = verdict(measured, self._total, _sending_ms(rows))
        host = found.host if found else None
        self._seen = [*self._seen[1 - AGREEING :], host]
        if host == self._said or self._seen != [host] * AGREEING:
            return
        text = found.text if found else f"{self._said} holds the run up no longer: every host pays"
        figures = {"host": host, "with": found.with_it, "without": found.without} if found else {"host": None}
        self._said = host
        self._journal.write("advice", text, "warning" if found else "info", **figures)


def _measured(member: Member, share: int, model: CostModel) -> Measured:
    link = None
    if member.link_mbit is not None:
        link = LinkSpeed(mbit=member.link_mbit, latency_ms=member.link_latency_ms or 0.0)
    line = model.line
    return Measured(host=member.host, share=share, a_ms=line.a, c_ms=line.c, cap=member.max_batch, link=link)


def _sending_ms(rows: Sequence[Sequence[Row]]) -> float:
    """What a step takes besides the slowest rank's own work."""
    rests = [
        max(r.step_ms for r in ranks) - max(r.busy_ms for r in ranks)
        for ranks in zip(*rows)
        if all(isfinite(r.busy_ms) for r in ranks)
    ]
    return max(0.0, median(rests)) if rests else 0.0

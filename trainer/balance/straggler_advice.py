"""Rank 0's advice while a run goes on: that the run would be faster without one of its hosts, or no longer would.

>>> adviser = StragglerAdviser(members, total=256, journal=journal, run="night")
>>> adviser.look(rows, models)      # once a window; says something only when its mind has changed

What it says stands on a minute of windows of one group, in which every rank's steps took about as long as its fitted
cost says. It compares predicted runs with and without each host (`profiles.straggler`), by the median over that minute.
It says nothing while a host of the run is away, since the others then carry what is not theirs; and as each group has
an adviser of its own, nothing for a minute after one has left or come back. What was said holds until the gain is
nearly gone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median

from motley.profiles.cost import CostModel
from motley.profiles.store import LinkSpeed
from motley.profiles.straggler import WORTH, Measured, Verdict, without_each
from motley.trainer.balance.measured_step import MeasuredStep
from motley.trainer.contract.generation import Group
from motley.trainer.contract.spec import Member, Spec
from motley.trainer.host.journal import Journal

EVIDENCE_S = 60.0  # of windows that must agree before anything is said
LEAST_LOOKS = 4  # windows, where a minute has fewer: then it takes longer
NO_LONGER = 1.02  # of the gain: below, what was said is taken back
FITS = 0.25  # relative error of the fitted costs, beyond which a window is no evidence
MOST_RANKS = 64  # beyond, looking takes longer than it is worth


@dataclass(frozen=True, slots=True)
class _Look:
    at: float  # seconds, on the adviser's clock
    verdicts: Mapping[str, Verdict]  # by host


class StragglerAdviser:
    """Of one group. Remembers what it said last, and journals an event `advice` when that is no longer so."""

    def __init__(
        self,
        members: Sequence[Member],
        total: int,
        journal: Journal,
        *,
        run: str = "RUN",
        away: Sequence[str] = (),
        min_hosts: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`away`: hosts of the run that this group is without. `min_hosts`: fewer may not be left."""
        self._members = members
        self._total = total
        self._journal = journal
        self._run = run
        hosts = len({m.host for m in members})
        self._silent = bool(away) or hosts <= max(1, min_hosts) or not 1 < len(members) <= MOST_RANKS
        self._clock = clock
        self._since: float | None = None  # of the first look
        self._looks: deque[_Look] = deque()
        self._said: str | None = None

    @property
    def has_said(self) -> bool:
        """Whether a word of it holds."""
        return self._said is not None

    @classmethod
    def of(
        cls, spec: Spec, group: Group, journal: Journal, clock: Callable[[], float] = time.monotonic
    ) -> StragglerAdviser:
        """Of a group of this run."""
        belong = {m.member: m for m in group.roll.members(spec.members)}
        away = [m.host for m in belong.values() if m.member not in group.members and m.host not in group.roll.dropped]
        members = [belong[member] for member in group.members]
        total, min_hosts = spec.options.global_batch, spec.elastic.min_hosts
        return cls(members, total, journal, run=spec.run, away=away, min_hosts=min_hosts, clock=clock)

    def look(self, rows: Sequence[Sequence[MeasuredStep]], models: Sequence[CostModel]) -> None:
        """`rows`: each rank's steps of one window. Nothing before every rank was measured."""
        if self._silent or not all(m.known for m in models) or not all(rows) or not _as_fitted(rows, models):
            return
        now = self._clock()
        self._since = now if self._since is None else self._since
        measured = [_measured(member, model) for member, model in zip(self._members, models)]
        found = without_each(measured, self._total, _sending_ms(rows))
        self._looks.append(_Look(now, {verdict.host: verdict for verdict in found}))
        while len(self._looks) > LEAST_LOOKS and now - self._looks[0].at > EVIDENCE_S:
            self._looks.popleft()
        if now - self._since >= EVIDENCE_S and len(self._looks) >= LEAST_LOOKS:
            self._judge()

    def _judge(self) -> None:
        typical = {host: self._typical(host) for host in self._looks[-1].verdicts}
        if self._said is not None:
            found = typical.get(self._said)
            if found is None or found.gain < NO_LONGER:
                self._journal.write("advice", f"{self._said} no longer slows the run: keep it", "info", host=None)
                self._said, self._since = None, None  # for another word, another minute
                self._looks.clear()
            return
        best = max(typical.values(), key=lambda verdict: verdict.gain, default=None)
        if best is None or best.gain < WORTH:
            return
        self._said = best.host
        text = f"{best.text}: motley drop {self._run} {best.host}"
        figures = {"host": best.host, "with": best.with_it, "without": best.without}
        self._journal.write("advice", text, "warning", **figures)

    def _typical(self, host: str) -> Verdict:
        """The median of the evidence, one figure at a time."""
        seen = [look.verdicts[host] for look in self._looks if host in look.verdicts]
        return Verdict(host=host, with_it=median(v.with_it for v in seen), without=median(v.without for v in seen))


def _as_fitted(rows: Sequence[Sequence[MeasuredStep]], models: Sequence[CostModel]) -> bool:
    """Whether these steps took every rank about as long as its fit says: the two are of the same period then. Steps in
    which a rank had nothing to do say nothing of that."""
    for ranks, model in zip(rows, models):
        off = [abs(r.busy_ms / model.predict(r.work).ms - 1) for r in ranks if isfinite(r.busy_ms) and r.work > 0]
        if not off or median(off) > FITS:
            return False
    return True


def _measured(member: Member, model: CostModel) -> Measured:
    link = None
    if member.link_mbit is not None:
        link = LinkSpeed(mbit=member.link_mbit, latency_ms=member.link_latency_ms or 0.0)
    line = model.line
    return Measured(host=member.host, a_ms=line.a, c_ms=line.c, cap=member.max_batch, link=link)


def _sending_ms(rows: Sequence[Sequence[MeasuredStep]]) -> float:
    """What a step takes besides the slowest rank's own work."""
    rests = [
        max(r.step_ms for r in ranks) - max(r.busy_ms for r in ranks)
        for ranks in zip(*rows)
        if all(isfinite(r.busy_ms) for r in ranks)
    ]
    return max(0.0, median(rests)) if rests else 0.0

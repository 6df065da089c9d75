"""Rank 0's advice while a run goes on: GPUs that are half idle and half empty would use a larger global batch.

    >>> cards = [Card(name="cuda:0 of desktop", busy=45.0, full=0.3)]
    >>> larger_batch(cards, 512)
    1024
    >>> words(cards, 1024)
    'cuda:0 of desktop is 45 % busy, 30 % full: a global batch of 1,024 would use it; it changes what is learned'

It goes by what NVML says of every GPU of the group, and the peak of torch's memory: by the median over a minute of
windows. Nothing is said where a GPU tells nothing, and of each group one thing at most.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median

from motley.trainer.balance.measured_step import MeasuredStep
from motley.trainer.contract.spec import Member
from motley.trainer.devices.names import is_gpu
from motley.trainer.host.journal import Journal

EVIDENCE_S = 60.0  # of windows in which it holds
LEAST_LOOKS = 4  # windows, where a minute has fewer: then it takes longer
IDLE = 60.0  # percent: a GPU that is busier has no time for more
ROOM = 0.8  # of its memory that may be filled
MOST = 4  # times the batch: beyond, nobody knows what is learned


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One GPU: percent of the time that it is busy, the part of its memory that is taken."""

    name: str
    busy: float
    full: float


def larger_batch(cards: Sequence[Card], total: int, *, room: int | None = None) -> int | None:
    """The global batch that would use them, two or four times `total`; None where they are used or have no room.

    Memory is taken to grow as the batch does: with weights in it, which do not, it grows less. `room`: the most samples
    of a step that all ranks together may have.
    """
    if not cards or max(card.busy for card in cards) >= IDLE:
        return None
    times = ROOM / max(max(card.full for card in cards), 1e-6)
    found = max((n for n in (2, MOST) if n <= times and (room is None or total * n <= room)), default=None)
    return None if found is None else total * found


def words(cards: Sequence[Card], batch: int) -> str:
    busy, full = max(card.busy for card in cards), max(card.full for card in cards)
    who, it = (f"{cards[0].name} is", "it") if len(cards) == 1 else (f"the {len(cards)} GPUs are at most", "them")
    return (
        f"{who} {busy:.0f} % busy, {full * 100:.0f} % full: a global batch of {batch:,} would use {it}; "
        "it changes what is learned"
    )


class GpuAdviser:
    """Of one group."""

    def __init__(
        self, members: Sequence[Member], total: int, journal: Journal, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._members = members
        self._gpus = [rank for rank, member in enumerate(members) if is_gpu(member.device)]
        self._total = total
        self._journal = journal
        self._clock = clock
        caps = [member.max_batch for member in members]
        self._room = None if None in caps else sum(cap or 0 for cap in caps)
        self._silent = not self._gpus
        self._looks: deque[tuple[float, list[Card]]] = deque()

    def look(self, rows: Sequence[Sequence[MeasuredStep]]) -> None:
        """`rows`: each rank's steps of one window."""
        if self._silent:
            return
        cards = [_card(self._members[rank], rows[rank]) for rank in self._gpus]
        if not all(isfinite(card.busy) and isfinite(card.full) for card in cards):
            self._looks.clear()
            return
        now = self._clock()
        self._looks.append((now, cards))
        while len(self._looks) > LEAST_LOOKS and now - self._looks[1][0] >= EVIDENCE_S:
            self._looks.popleft()
        if now - self._looks[0][0] < EVIDENCE_S or len(self._looks) < LEAST_LOOKS:
            return
        typical = [
            Card(name=one[0].name, busy=median(card.busy for card in one), full=max(card.full for card in one))
            for one in zip(*(cards for _, cards in self._looks))
        ]
        batch = larger_batch(typical, self._total, room=self._room)
        if batch is not None:
            self._silent = True
            busy, full = max(card.busy for card in typical), max(card.full for card in typical)
            self._journal.write("advice", words(typical, batch), "info", global_batch=batch, busy=busy, full=full)


def _card(member: Member, ranks: Sequence[MeasuredStep]) -> Card:
    return Card(
        name=f"{member.device} of {member.host}",
        busy=median(row.gpu_util for row in ranks) if ranks else float("nan"),
        full=max((row.memory_full for row in ranks), default=float("nan")),
    )

"""What a run came to as its ranks themselves told it: for its summary, where the host that leads can't be asked.

    >>> heard = Heard()
    >>> heard.hear(sample)
    >>> heard.figures()
    {'steps': 812, 'epochs': 3, 'samples': 207872, 'seconds': 96.2, 'rebalances': 2, 'shares': {'box1': 0.75, …}}

What is not known is None. However long the run, little is kept of it.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from motley.remote.diagnosis.host_clocks import Clocks
from motley.remote.feed import FeedRecord, Link
from motley.trainer.contract.wire import Event, Sample

NOT_BEGUN = {"steps": 0, "epochs": 0, "samples": 0, "rebalances": 0}  # of a start that failed
KEPT = 4096  # newest steps: how far a run may go back, and end there


class Heard:
    def __init__(self) -> None:
        self._clocks = Clocks()
        self._first: float | None = None  # on the master's clock
        self._last: float | None = None
        self._newest: dict[int, Sample] = {}  # by member
        self._counted: deque[tuple[int, int]] = deque(maxlen=KEPT)  # steps, and the samples of all up to each
        self._began, self._step = 0, -1  # the first step that was heard, and the newest
        self._counts = True  # none is missing since
        self._evaluated = 0  # epochs that were completed then
        self._rebalances = 0

    def hear(self, record: FeedRecord) -> None:
        if isinstance(record, Sample):  # one a rank and step: nearly all that comes
            self._newest[record.member] = record
            if record.step > self._step:
                self._count(record)
            elif record.step < self._began:
                self._counts = False
        elif isinstance(record, Link):
            self._clocks.hear(record)
        elif isinstance(record, Event) and record.source != "console":
            self._at(record.host, record.time)
            epoch = record.data.get("epoch")
            if record.kind == "evaluated" and type(epoch) is int:
                self._evaluated = max(self._evaluated, epoch)
            self._rebalances += record.kind == "decision"

    def figures(self) -> dict[str, Any]:
        """As summary.json has them, but for `shares`, of the newest step, which stand there by host."""
        for sample in self._newest.values():
            self._at(sample.host, sample.time)
        steps = max((sample.step for sample in self._newest.values()), default=None)
        newest = [sample for sample in self._newest.values() if sample.step + 1 >= (steps or 0)]  # others were lost
        whole = sum(sample.batch for sample in newest)
        shares: dict[str, float] = {}
        for sample in newest if whole else ():
            shares[sample.host] = shares.get(sample.host, 0.0) + sample.batch / whole
        return {
            "steps": steps,
            "epochs": max([self._evaluated, *(sample.epoch for sample in newest)]) if newest else None,
            "samples": next((n for step, n in reversed(self._counted) if step == steps), None)
            if self._counts
            else None,
            "seconds": None if self._first is None or self._last is None else round(self._last - self._first, 3),
            "rebalances": self._rebalances,
            "shares": shares,
        }

    def _at(self, host: str, time: float) -> None:
        at = self._clocks.at(host, time)
        self._first = at if self._first is None else min(self._first, at)
        self._last = at if self._last is None else max(self._last, at)

    def _count(self, sample: Sample) -> None:
        """The first that is heard of a step. One that is made again has the same samples; a rank may tell of older ones
        than those known so far."""
        if not self._counted:
            self._began, self._step = sample.step, sample.step - 1
            self._at(sample.host, sample.time)
        counted = self._counted[-1][1] if self._counted else 0
        if sample.step == self._step + 1 and sample.step_batch is not None:
            self._counted.append((sample.step, counted + sample.step_batch))
        else:
            self._counts = False
        self._step = sample.step

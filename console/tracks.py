"""The two running tallies of the store: what is known of one rank, and of the newest steps over all ranks.

Both take a sample in a few microseconds; what costs more is done when a snapshot asks for it.

    >>> table = StepTable()
    >>> table.add(sample, ranks=1, global_batch=256)
    [StepTotal(step=1, samples=256, ms=195.0, loss_sum=589.0, loss_samples=256)]
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from console.snapshot import RankView
from trainer.wire import Sample

TREND = 48  # samples of a rank's sparkline
SMOOTH = 8  # steps that a shown figure is averaged over, so that digits can be read
PENDING = 256  # steps that may wait for a rank whose lines come late
LEAST_MS = 1e-6  # a step that took less has no time that could be divided by


class RankTrack:
    """The newest sample of one rank and a ring of what it did per step."""

    __slots__ = ("active", "device", "host", "last", "member", "phase", "recent", "share", "stale", "trend", "view")

    def __init__(self, member: int, host: str, device: str) -> None:
        self.member = member
        self.host = host
        self.device = device
        self.active = True
        self.phase = ""
        self.share: int | None = None  # samples the group gave it, before its first step
        self.last: Sample | None = None
        self.recent: deque[tuple[int, float, float, float]] = deque(maxlen=SMOOTH)
        self.trend: deque[float] = deque(maxlen=TREND)
        self.stale = True
        self.view: RankView | None = None

    def add(self, sample: Sample) -> None:
        self.last = sample
        if self.phase not in ("failed", "ended"):  # its last lines may come after the word of its end
            self.phase = "training"
        self.recent.append((sample.batch, sample.step_ms, sample.compute_ms, sample.wait_ms))
        if sample.step_ms > LEAST_MS:
            self.trend.append(sample.batch * 1000.0 / sample.step_ms)
        self.stale = True

    def shown(self, *, offset_s: float, global_batch: int | None) -> RankView:
        """The frozen view, made anew only after something changed."""
        if self.view is None or self.stale:
            self.view = self._make(offset_s, global_batch)
            self.stale = False
        return self.view

    def _make(self, offset_s: float, global_batch: int | None) -> RankView:
        last = self.last
        batch = last.batch if last else self.share
        total_ms = sum(ms for _, ms, _, _ in self.recent)
        n = len(self.recent)
        return RankView(
            member=self.member,
            host=self.host,
            device=self.device,
            active=self.active,
            phase=self.phase,
            step=last.step if last else None,
            batch=batch,
            share=batch / global_batch if batch is not None and global_batch else None,
            samples_per_s=sum(b for b, _, _, _ in self.recent) * 1000.0 / total_ms if total_ms > LEAST_MS else None,
            compute_ms=sum(c for _, _, c, _ in self.recent) / n if n else None,
            wait_ms=sum(w for _, _, _, w in self.recent) / n if n else None,
            step_ms=total_ms / n if n else None,
            mem_mib=last.mem_mib if last else None,
            gpu_util=last.gpu_util if last else None,
            seen=last.time - offset_s if last else None,
            trend=tuple(self.trend),
        )


@dataclass(slots=True)
class StepTotal:
    """One step summed over the ranks: its wall time is the slowest rank's."""

    step: int
    samples: int = 0
    ms: float = 0.0
    loss_sum: float = 0.0
    loss_samples: int = 0
    ranks: int = 0


class StepTable:
    """Collects each step's samples until all ranks have spoken, then hands the step out, in order."""

    def __init__(self) -> None:
        self._pending: dict[int, StepTotal] = {}
        self._done = 0
        self._generation = -1

    def add(self, sample: Sample, *, ranks: int, global_batch: int | None) -> list[StepTotal]:
        """The steps that this sample completes: one, none, or an old one that has waited too long for a rank.

        A later generation may begin before the newest step known here: what it repeats counts anew.
        """
        if sample.generation > self._generation:
            self._generation = sample.generation
            self._done = min(self._done, sample.step - 1)
            for step in [s for s in self._pending if s >= sample.step]:
                del self._pending[step]
        elif sample.generation < self._generation and sample.step not in self._pending:
            return []
        if sample.step <= self._done:
            return []
        total = self._pending.get(sample.step)
        if total is None:
            total = self._pending[sample.step] = StepTotal(sample.step)
        total.samples += sample.batch
        total.ranks += 1
        if sample.step_ms > max(total.ms, LEAST_MS):
            total.ms = sample.step_ms
        if sample.loss is not None and sample.batch:
            total.loss_sum += sample.loss * sample.batch
            total.loss_samples += sample.batch
        if total.ranks >= ranks or (global_batch and total.samples >= global_batch):
            return self._finish(sample.step, global_batch)
        if len(self._pending) > PENDING:
            return self._finish(min(self._pending), global_batch)
        return []

    def _finish(self, step: int, global_batch: int | None) -> list[StepTotal]:
        """Hand out `step` and the older ones that some rank's line is missing of."""
        self._done = max(self._done, step)
        totals = [self._pending.pop(s) for s in sorted(self._pending) if s <= step]
        for total in totals:
            # A rank took part in the step even when its line comes late: the step is not smaller for it.
            total.samples = max(total.samples, global_batch or 0)
        return totals

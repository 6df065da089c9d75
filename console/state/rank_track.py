"""What is known of one rank besides its part of the shown step: where it is, when it was heard, and its recent past."""

from __future__ import annotations

from collections import deque

from motley.console.state.shown_step import RankPart, ShownStep
from motley.console.state.snapshot import RankView
from motley.trainer.contract.wire import Sample, Usage

TREND = 48  # samples of a rank's sparkline


class RankTrack:
    """One rank of the run, by its member number."""

    __slots__ = ("active", "device", "heard", "host", "member", "partial_line", "phase", "trend", "usage")

    def __init__(self, member: int, host: str, device: str) -> None:
        self.member = member
        self.host = host
        self.device = device
        self.active = True
        self.phase = ""
        self.partial_line = ""  # what it is writing: a progress bar
        self.usage: Usage | None = None  # of a script
        self.heard: float | None = None  # the time of its newest line, on its host's clock
        self.trend: deque[float] = deque(maxlen=TREND)

    def hear(self, sample: Sample) -> None:
        self.heard = sample.time
        if self.phase not in ("failed", "ended"):  # its last lines may come after the word of its end
            self.phase = "training"

    def view(self, shown: ShownStep | None, *, offset_s: float, grouped: bool, silent: bool) -> RankView:
        """The rank with its part of the shown step; without figures when it has none. `grouped`: it is in the group."""
        part = shown.ranks.get(self.member) if shown is not None else None
        taken: RankPart | Usage | None = part if part is not None else self.usage
        return RankView(
            member=self.member,
            host=self.host,
            device=self.device,
            active=grouped,
            phase=self.phase,
            partial_line=self.partial_line,
            silent=silent,
            step=shown.step if part is not None and shown is not None else None,
            batch=part.batch if part is not None else None,
            share=part.share if part is not None else None,
            samples_per_s=part.samples_per_s if part is not None else None,
            units_per_s=part.units_per_s if part is not None else None,
            compute_ms=part.compute_ms if part is not None else None,
            wait_ms=part.wait_ms if part is not None else None,
            step_ms=shown.step_ms if part is not None and shown is not None else None,
            cpu=self.usage.cpu if part is None and self.usage is not None else None,
            mem_mib=taken.mem_mib if taken is not None else None,
            gpu_util=taken.gpu_util if taken is not None else None,
            seen=self.heard - offset_s if self.heard is not None else None,
            trend=tuple(self.trend),
        )

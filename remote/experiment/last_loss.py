"""The loss of a run's last step over all ranks, from what they told: the leader's summary has what it heard in time.

`remote.session.session` lets it hear every sample, whoever keeps the records: so all consoles that watch a run come to
the same.

    >>> losses = LastLosses()
    >>> losses.hear(sample)
    >>> losses.of(812, members=4)
    0.0613
"""

from __future__ import annotations

import math
from collections import deque

from motley.trainer.contract.wire import Sample

KEPT = 512  # samples of each rank: how far one may be ahead of the last step that all have made


class LastLosses:
    def __init__(self) -> None:
        self._newest: dict[int, deque[tuple[int, int, float]]] = {}

    def hear(self, sample: Sample) -> None:
        kept = self._newest.setdefault(sample.member, deque(maxlen=KEPT))
        loss = math.nan if sample.loss is None and sample.batch else sample.loss or 0.0
        kept.append((sample.step, sample.batch, loss * sample.batch))

    def of(self, step: int, members: int) -> float | None:
        """The mean over the samples of a step; None when it is not known of so many members, or is no number."""
        found: dict[int, tuple[int, float]] = {}
        for member, kept in self._newest.items():
            for made, batch, total in reversed(kept):  # a step may have been made again
                if made == step:
                    found[member] = (batch, total)
                    break
        count = sum(batch for batch, _ in found.values())
        mean = sum(total for _, total in found.values()) / count if len(found) == members and count else math.nan
        return mean if math.isfinite(mean) else None

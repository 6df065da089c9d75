"""What rank 0 tells of the whole run: how long it will be, of how many samples a step is, and how good the model is.

>>> told = ToldByRank0()
>>> told.report(event)          # kind "report": {"steps_total": 60, "steps_per_epoch": 20, "shares": [96, 32]}
>>> told.epochs, told.batch
(3, 128)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from motley.console.state.event_data import number
from motley.trainer.contract.wire import Event


@dataclass(slots=True)
class ToldByRank0:
    """None: not told."""

    steps_total: int | None = None
    epochs: int | None = None  # by what it has counted
    batch: int | None = None  # samples of a step
    accuracy: float | None = None  # 0 to 1, the newest
    best_accuracy: float | None = None

    def report(self, event: Event) -> None:
        """What is about to be trained."""
        total = number(event.data.get("steps_total"))
        self.steps_total = int(total) if total else self.steps_total
        per_epoch = number(event.data.get("steps_per_epoch"))
        if total and per_epoch and per_epoch >= 1:
            self.epochs = math.ceil(total / per_epoch)
        shares = event.data.get("shares")
        told = [number(share) for share in shares] if isinstance(shares, (list, tuple)) else []
        self.batch = int(sum(share or 0 for share in told)) or self.batch

    def evaluated(self, event: Event) -> None:
        accuracy = number(event.data.get("accuracy"))
        if accuracy is not None:
            self.accuracy = accuracy
            self.best_accuracy = max(accuracy, self.best_accuracy or 0.0)

"""What rank 0 tells of the whole run: how long it will be, of how many samples a step is, how good the model is, and
what it answers.

>>> told = ToldByRank0()
>>> told.report(event)          # kind "report": {"steps_total": 60, "steps_per_epoch": 20, "shares": [96, 32]}
>>> told.epochs, told.batch
(3, 128)
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from motley.console.state.event_data import number
from motley.console.state.snapshot import Answers, HeldOut
from motley.trainer.contract.wire import Event

KEPT = 50  # evaluations whose answers can be looked at; events.jsonl has them all
MOST, CHARACTERS = 8, 2000  # of an evaluation's answers, as `trainer.tasks.evaluation` bounds them
FIGURES = 4  # that follow from a loss


@dataclass(slots=True)
class ToldByRank0:
    """None: not told."""

    steps_total: int | None = None
    epochs: int | None = None  # by what it has counted
    batch: int | None = None  # samples of a step
    accuracy: float | None = None  # 0 to 1, the newest
    best_accuracy: float | None = None
    held_out: HeldOut | None = None  # the newest
    held_out_on_start: HeldOut | None = None  # before the first step
    answers: deque[Answers] = field(default_factory=lambda: deque(maxlen=KEPT))  # the newest first

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
        accuracy, loss = number(event.data.get("accuracy")), number(event.data.get("loss"))
        if accuracy is not None:
            self.accuracy = accuracy
            self.best_accuracy = max(accuracy, self.best_accuracy or 0.0)
        told = event.data.get("figures")
        figures = [(str(name), number(value)) for name, value in told.items()] if isinstance(told, dict) else []
        follows = tuple((name, value) for name, value in figures[:FIGURES] if value is not None)
        self.held_out = None if loss is None else HeldOut(loss=loss, follows=follows)
        if number(event.data.get("epoch")) == 0:
            self.held_out_on_start = self.held_out

    def evaluation(self) -> dict[str, Any]:
        """What a snapshot has of the evaluations."""
        return {
            "accuracy": self.accuracy,
            "best_accuracy": self.best_accuracy,
            "held_out": self.held_out,
            "held_out_on_start": self.held_out_on_start,
            "answers": tuple(self.answers),
        }

    def answered(self, event: Event) -> None:
        """An evaluation that was done once more, after a group broke, takes the place of the one before."""
        told = event.data.get("answers")
        rows = [row for row in told if isinstance(row, dict)][:MOST] if isinstance(told, list) else []
        pairs = tuple((_text(row.get("prompt")), _text(row.get("answer"))) for row in rows)
        step, epoch = number(event.data.get("step")) or 0, number(event.data.get("epoch")) or 0
        if not pairs:
            return
        if self.answers and self.answers[0].step >= step:  # the run went back
            kept = [one for one in self.answers if one.step < step]
            self.answers.clear()
            self.answers.extend(kept)
        self.answers.appendleft(Answers(step=int(step), epoch=int(epoch), pairs=pairs, held_out=self.held_out))


def _text(value: Any) -> str:
    return value[:CHARACTERS] if isinstance(value, str) else ""

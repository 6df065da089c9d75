"""`motley.LightningCallback()` for the `Trainer` of Lightning: its steps, and the loss that `training_step` returns."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or "pytorch_lightning" not in sys.modules:  # one library of two names: whose Trainer it is for
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    from pytorch_lightning import Callback, LightningModule, Trainer

from motley.trainer.readings.report import report

EVERY_S = 0.5  # to take a loss from a GPU is to wait for it


class LightningCallback(Callback):
    """`Trainer(..., callbacks=[motley.LightningCallback()])`. Each rank reports its own."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due = -math.inf

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002 - as Lightning calls it
        outputs: Any,
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        now = self._clock()
        loss = None
        if now >= self._due:
            self._due = now + EVERY_S
            loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        _report(trainer, loss)


def _report(fit: Trainer, loss: Any) -> None:
    total = fit.estimated_stepping_batches
    steps = int(total) if math.isfinite(total) and total > 0 else None
    report(step=fit.global_step, loss=loss, steps=steps, epoch=fit.current_epoch)

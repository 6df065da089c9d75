"""`motley.AccelerateTracker()` for accelerate: what a script gives to `accelerator.log(values, step=…)`."""

from __future__ import annotations

from typing import Any

from accelerate.tracking import GeneralTracker, on_main_process

from motley.trainer.readings.loss_tag import is_training_loss
from motley.trainer.readings.report import report


class AccelerateTracker(GeneralTracker):
    """`Accelerator(log_with=motley.AccelerateTracker())`, and `accelerator.init_trackers("night")` as ever. The main
    process reports; a value called `loss`, `train_loss`, `train/loss` and the like is the loss."""

    name = "motley"
    requires_logging_directory = False
    main_process_only = True

    @property
    def tracker(self) -> None:
        return None

    @on_main_process
    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """A run's settings are in its cluster.toml."""

    @on_main_process
    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:  # noqa: ARG002
        if step is not None:
            report(step=step, loss=next((values[name] for name in values if is_training_loss(name)), None))

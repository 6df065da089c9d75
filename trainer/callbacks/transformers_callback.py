"""`motley.TransformersCallback()` for the `Trainer` of transformers: its steps, and its loss whenever it logs one."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from motley.trainer.readings.report import report


class TransformersCallback(TrainerCallback):
    """`Trainer(..., callbacks=[motley.TransformersCallback()])`. Each rank reports its own."""

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 - as transformers calls it
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        report(step=state.global_step, steps=_total(state), epoch=state.epoch)

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: dict[str, Any] | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None:
            report(step=state.global_step, loss=loss, steps=_total(state), epoch=state.epoch)


def _total(state: TrainerState) -> int | None:
    return state.max_steps if state.max_steps > 0 else None

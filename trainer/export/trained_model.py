"""What a checkpoint holds for those who use the model: its weights, and what they were trained as.

    >>> model = TrainedModel.read(folder / "checkpoints/final.pt", spec)
    >>> model.metadata
    {'task': 'simple_cnn/digits', 'step': 60, 'epoch': 10, 'classes': ['0', …], 'mean': [4.88], 'std': [6.01], …}
    >>> size, pieces = model.file("safetensors", {"run": "night", "accuracy": 0.97})

The class names and the normalisation are the task's own (`Task.metadata`): the task is loaded for them, with its data
where that is there. Where it can't be, the weights are worth having all the same, and a note says what is missing.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import motley
from motley.trainer import tasks
from motley.trainer.contract.spec import DataOptions, RunOptions, Spec
from motley.trainer.errors import TaskError, TrainerError
from motley.trainer.export.safetensors_file import laid_out
from motley.trainer.tasks.user_code import user_code
from motley.trainer.training import checkpoint


@dataclass(slots=True, kw_only=True)
class TrainedModel:
    """`metadata`: plain values by name. `notes`: what could not be found out, and why."""

    weights: Mapping[str, Any]  # the state_dict of the task's model
    step: int
    metadata: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path, spec: Spec | None) -> TrainedModel:
        """`spec`: of the run, where this host has it. Raises CheckpointError, CheckpointDamaged, CheckpointMissing."""
        state = checkpoint.load(path)
        session = state.get("session")
        script = session is not None or (spec is not None and spec.script is not None)
        trained: dict[str, Any] = {"task": state["task"], "step": state["step"], "epoch": state["epoch"]}
        if script:
            path_of = spec.script.name if spec is not None and spec.script is not None else state["task"]
            trained = {"script": path_of, "step": state["step"], "epoch": state["epoch"]}
        elif spec is not None and spec.own_task is not None:
            trained["parameters"] = spec.own_task.parameters
        if state.get("classes"):  # as they were then, whatever the data holds now
            trained["classes"] = state["classes"]
        if "ema" in state:  # what was evaluated
            trained["ema"] = True
        found = cls(weights=state.get("ema", state["model"]), step=int(state["step"]), metadata=trained)
        if not script:
            found._ask_task(state, spec)
        if session is not None:
            found._look_at_models(len(session["models"]))
        return found

    def file(self, form: str, more: Mapping[str, Any]) -> tuple[int, Iterable[bytes | memoryview]]:
        """The length of the file and its bytes in pieces, in the form "safetensors" or "pt", with `more` metadata.

        In safetensors, whose metadata is text by name, a text stays as it is and all else is JSON. In the other one
        it is the table `metadata` beside `model`. Raises TrainerError for weights that safetensors can't hold.
        """
        self.metadata = {"motley": motley.__version__, **more, **self.metadata}
        if form == "safetensors":
            texts = {name: v if isinstance(v, str) else json.dumps(v) for name, v in self.metadata.items()}
            return laid_out(self.weights, {"format": "pt", **texts})
        whole = io.BytesIO()
        torch.save({"model": dict(self.weights), "metadata": self.metadata}, whole)
        content = whole.getbuffer()
        return len(content), [content]

    def _look_at_models(self, others: int) -> None:
        """Of a loop of the user's own, which may have prepared any number."""
        if not self.weights:
            self.notes.append("run.prepare was given no model with weights: the file holds none")
        if others:
            self.notes.append(
                f"run.prepare was given {others + 1} models: the file holds the first; the others are in the "
                "checkpoint alone, as session.models"
            )

    def _ask_task(self, state: Mapping[str, Any], spec: Spec | None) -> None:
        known = RunOptions(task=state["task"], norm=state.get("norm", "batch"))
        options, data = (spec.options, spec.data) if spec is not None else (known, DataOptions())
        try:
            own = spec.own_task if spec is not None else None
            task = tasks.load(options, dataclasses.replace(data, download=False), lambda *_: None, own)
            with user_code(task.project):
                given: object = task.metadata()
            self.metadata = {**_plain(given, type(task).__name__), **self.metadata}
        except TrainerError as error:
            what = "the normalisation is" if "classes" in self.metadata else "class names and normalisation are"
            self.notes.append(f"{what} left out: {error.cause}")


def _plain(given: object, kind: str) -> dict[str, Any]:
    """As JSON has it. Raises TaskError for what is no table of plain values."""
    if not isinstance(given, Mapping):
        raise TaskError(f"{kind}.metadata gives a {type(given).__name__}", "Give a dict of plain values")
    try:
        found: dict[str, Any] = json.loads(json.dumps({str(name): value for name, value in given.items()}))
    except (TypeError, ValueError) as error:
        raise TaskError(
            f"{kind}.metadata gives what is no plain value: {error}", "Give lists in place of it"
        ) from error
    return found

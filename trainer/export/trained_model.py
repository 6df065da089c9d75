"""What a checkpoint holds for those who use the model: its weights, and what they were trained as.

    >>> model = TrainedModel.read(folder / "checkpoints/final.pt", spec)
    >>> model.metadata
    {'task': 'simple_cnn/digits', 'step': 60, 'epoch': 10, 'classes': ['0', …], 'mean': [4.88], 'std': [6.01], …}
    >>> size, pieces = model.file("safetensors", {"run": "night", "accuracy": 0.97})

The class names and the normalisation are the task's own (`Task.metadata`), as the checkpoint has kept them. Where it
has not, the task is loaded for them, with its data where that is there. Where it can't be, the weights are worth having
all the same, and a note says what is missing.
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
from torch import nn

import motley
from motley.trainer import tasks
from motley.trainer.contract.spec import DataOptions, RunOptions, Spec
from motley.trainer.contract.task_name import CAUSAL_LM
from motley.trainer.errors import TaskError, TrainerError
from motley.trainer.export.exported_folder import Pieces, laid_out_folder
from motley.trainer.export.safetensors_file import laid_out
from motley.trainer.llm import exported as language_model
from motley.trainer.optimize.local_weights import LocalWeights
from motley.trainer.tasks.task import Task, plain_metadata
from motley.trainer.tasks.task_module import new_model
from motley.trainer.tasks.user_code import user_code
from motley.trainer.training import checkpoint


@dataclass(slots=True, kw_only=True)
class TrainedModel:
    """`metadata`: plain values by name. `notes`: what could not be found out, and why."""

    weights: Mapping[str, Any]  # the state_dict of the task's model
    step: int
    metadata: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    options: RunOptions = field(default_factory=RunOptions)
    spec: Spec | None = None
    kept: Mapping[str, Any] = field(default_factory=dict)  # the task's metadata in the checkpoint
    local: Mapping[str, Any] = field(default_factory=dict)  # weights that are not in it: `LocalWeights.table`
    name: str = ""  # of the checkpoint's file

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
        known = RunOptions(task=state["task"], norm=state.get("norm", "batch"), seed=state["seed"])
        found = cls(
            weights=state.get("ema", state["model"]), step=int(state["step"]), metadata=trained,
            options=spec.options if spec is not None else known, spec=spec, kept=state.get("metadata") or {},
            local=state.get("local") or {}, name=path.name,
        )  # fmt: skip
        if "metadata" in state:
            found.metadata = {**found.kept, **trained}
        elif not script:
            found._ask_task()
        if session is not None:
            found._look_at_models(len(session["models"]))
        return found

    def file(
        self, form: str, more: Mapping[str, Any], *, merge: bool = False
    ) -> tuple[int, Iterable[bytes | memoryview]]:
        """The length of the file and its bytes in pieces, in the form "safetensors" or "pt", with `more` metadata.

        `merge`: with the weights that every host has by itself. In safetensors, whose metadata is text by name, a text
        stays as it is and all else is JSON. In the other one it is the table `metadata` beside `model`. Raises
        TrainerError for weights that safetensors can't hold.
        """
        self.metadata = {"motley": motley.__version__, **more, **self.metadata}
        if merge:
            self._put_local_in()
        elif names := self.local.get("names"):
            self.metadata["left_out"] = {"weights": len(names), "digest": self.local["digest"]}
            self.notes.append(
                f"{len(names)} weights that every host has by itself are not in the file ({names[0]}, …): "
                + ("a folder in place of a file gets an adapter that peft reads" if self._is_language_model
                   else "--merge puts them in")
            )  # fmt: skip
        if form == "safetensors":
            texts = {name: v if isinstance(v, str) else json.dumps(v) for name, v in self.metadata.items()}
            return laid_out(self.weights, {"format": "pt", **texts})
        whole = io.BytesIO()
        torch.save({"model": dict(self.weights), "metadata": self.metadata}, whole)
        content = whole.getbuffer()
        return len(content), [content]

    def folder(self, more: Mapping[str, Any], room: Path, *, merge: bool) -> tuple[list[tuple[str, int]], Pieces]:
        """The names and sizes of a folder's files, and their bytes in that order. `room`: an empty folder, there until
        all is read. Raises TrainerError for a task that makes none, or can't."""
        self.metadata = {"motley": motley.__version__, **more, **self.metadata}
        files = self._language_model(room, merge) if self._is_language_model else self._own_files(room, merge)
        return laid_out_folder(files, self.metadata)

    @property
    def _is_language_model(self) -> bool:
        return self.options.task == CAUSAL_LM

    def _language_model(self, room: Path, merge: bool) -> Mapping[str, object]:
        """What it is, the checkpoint and `[task]` say: no library is imported for an adapter."""
        given = self.kept.get("parameters") or self.metadata.get("parameters")
        if not isinstance(given, Mapping):
            raise TrainerError("the checkpoint does not say what it was trained with", "Export it where the run was")
        data_path = self.spec.data.path if self.spec is not None else None
        files, notes = language_model.exported(
            language_model.options_of(given), Path(data_path).expanduser() if data_path else None, self.weights,
            self.metadata, room, merge=merge, check=self._check_base,
        )  # fmt: skip
        self.notes += notes
        return files

    def _check_base(self, model: nn.Module) -> None:
        """Raises CheckpointError where an adapter would be merged into another model. Weights that were quantised can't
        be compared to those they were made of; nor those in float16, which are rounded in another way."""
        if self.local and {*self.local["dtypes"]} <= {"bfloat16", "float32", "float64"}:
            LocalWeights.named(model, self.local["names"]).check(self.local, self.name)

    def _own_files(self, room: Path, merge: bool) -> Mapping[str, object]:
        task = self._task() if self.spec is None or self.spec.script is None else Task()
        with user_code(task.project):
            files: object = task.export(self.weights, self.metadata, room, merge=merge)
        if files is None:
            cause = f"{self.metadata.get('task', self.metadata.get('script'))} makes no folder of its own"
            raise TrainerError(cause, "Name a file that ends in .safetensors or .pt")
        if not isinstance(files, Mapping):
            raise TaskError(f"{type(task).__name__}.export gives a {type(files).__name__}", "Give a dict of files")
        return files

    def _put_local_in(self) -> None:
        """The whole `state_dict`, by the model that the task makes here. Raises CheckpointError for another one."""
        if self._is_language_model:
            raise TrainerError("a merged language model is a folder", "Name one: not .safetensors or .pt at its end")
        if not self.local:
            self.notes.append("--merge does nothing here: all weights are in the checkpoint")
            return
        task = self._task()
        torch.manual_seed(self.options.seed)
        model = new_model(task)
        local = LocalWeights.of(task, model)
        local.check(self.local, self.name)
        self.weights = {**model.state_dict(), **self.weights}

    def _task(self) -> Task:
        data = self.spec.data if self.spec is not None else DataOptions()
        own = self.spec.own_task if self.spec is not None else None
        return tasks.load(self.options, dataclasses.replace(data, download=False), lambda *_: None, own)

    def _look_at_models(self, others: int) -> None:
        """Of a loop of the user's own, which may have prepared any number."""
        if not self.weights:
            self.notes.append("run.prepare was given no model with weights: the file holds none")
        if others:
            self.notes.append(
                f"run.prepare was given {others + 1} models: the file holds the first; the others are in the "
                "checkpoint alone, as session.models"
            )

    def _ask_task(self) -> None:
        try:
            task = self._task()
            with user_code(task.project):
                given: object = task.metadata()
            self.metadata = {**plain_metadata(given, type(task).__name__), **self.metadata}
        except TrainerError as error:
            what = "the normalisation is" if "classes" in self.metadata else "class names and normalisation are"
            self.notes.append(f"{what} left out: {error.cause}")

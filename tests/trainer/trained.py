"""A run that has trained, as a host keeps it, without any training: its spec, its events, its checkpoints.

>>> folder = trained(home, "night", "box0", spec_of("night", "box0"), {"final": 18})
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from motley.trainer.contract.spec import BalanceOptions, DataOptions, ElasticOptions, Member, RunOptions, Spec
from motley.trainer.contract.task_name import OwnTask
from motley.trainer.host.paths import run_folder
from motley.trainer.tasks.models import build
from motley.trainer.training import checkpoint

NIGHT = """
from dataclasses import dataclass
import torch
from torch import nn
import motley

print("a greeting")

class Night(motley.Task):
    @dataclass
    class Options:
        width: int = 8

    def model(self):
        return nn.Linear(3, self.options.width)

    def train_data(self):
        return torch.arange(30.0).reshape(10, 3), torch.arange(10) % 2

    def loss(self, outputs, targets):
        return nn.functional.cross_entropy(outputs, targets)

    def metadata(self):
        return {"classes": [str(n) for n in range(self.options.width)], "step": "not this one"}
"""


def spec_of(run: str, host: str, task: str = "simple_cnn/digits", own: OwnTask | None = None) -> Spec:
    return Spec(
        run=run, host=host, token="a" * 64, leader="box0", leader_address="127.0.0.1", port=1,
        members=(Member(member=0, host=host, local_rank=0, device="cpu"),),
        options=RunOptions(task=task), balance=BalanceOptions(), elastic=ElasticOptions(), data=DataOptions(), env={},
        own_task=own,
    )  # fmt: skip


def weights(step: int) -> dict[str, Tensor]:
    """Of the model of simple_cnn/digits, others for each step."""
    return build("simple_cnn", channels=1, size=8, classes=10, norm="batch", seed=step).state_dict()


def state(step: int, model: Mapping[str, Any] | None = None, task: str = "simple_cnn/digits") -> dict[str, Any]:
    return {
        "model": weights(step) if model is None else model, "optimizer": {}, "step": step, "epoch": step // 6,
        "seed": 0, "global_batch": 256, "task": task, "norm": "batch",
    }  # fmt: skip


def trained(home: Path, spec: Spec, checkpoints: Mapping[str, int], *, evaluated: int | None = None) -> Path:
    """`checkpoints`: step by name. `evaluated`: a step of which the accuracy is known."""
    folder = run_folder(spec.run, spec.host, home)
    (folder / "checkpoints").mkdir(parents=True)
    told = {"run": spec.run, "host": spec.host, "leader": spec.leader, "state": "finished"}
    (folder / "state.json").write_text(json.dumps(told))
    (folder / "spec.json").write_text(spec.to_json())
    for name, step in checkpoints.items():
        checkpoint.save(folder / f"checkpoints/{name}.pt", state(step, task=spec.options.task))
    write_events(folder, evaluated)
    return folder


def write_events(folder: Path, evaluated: int | None) -> None:
    rows: list[dict[str, Any]] = [{"kind": "evaluated", "data": {"step": 6, "accuracy": 0.1}}]
    if evaluated is not None:
        rows.append({"kind": "evaluated", "data": {"step": evaluated, "accuracy": 0.75, "loss": 0.5, "epoch": 1}})
    (folder / "events.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows) + '{"kind": "evalu')


def damage(file: Path) -> None:
    """A byte in the middle is another one."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def own_project(home: Path, text: str = NIGHT, **parameters: Any) -> OwnTask:
    folder = home / ".motley/code/8f5a"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "night.py").write_text(text)
    return OwnTask(tree="8f5a", file="night.py", parameters=parameters)


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)

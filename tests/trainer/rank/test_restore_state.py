"""Which checkpoint a rank begins with: the newest of a folder, or the one that is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from motley.trainer.contract.spec import RunOptions
from motley.trainer.errors import CheckpointError, TrainerError
from motley.trainer.host.journal import Journal
from motley.trainer.optimize.train_state import TrainState
from motley.trainer.rank.restore_state import go_on
from motley.trainer.training import checkpoint
from tests.trainer.coordinating import spec

OPTIONS = RunOptions(task="simple_cnn/digits")


def write(folder: Path, name: str, step: int, **more: Any) -> None:
    """Of a model whose weights are its step."""
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, float(step))
    optimizer = torch.optim.SGD(model.parameters())
    about = {"task": OPTIONS.task, "epoch": 0, "seed": OPTIONS.seed, "global_batch": OPTIONS.global_batch}
    state = {**about, **more, "step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    checkpoint.save(folder / f"{name}.pt", state)


def begun(resume: Path, journal: Journal, classes: Sequence[str] = ()) -> tuple[int, float]:
    """The step that a rank begins with, and its weight then."""
    model = nn.Linear(1, 1)
    given = replace(spec(1), options=OPTIONS, resume=str(resume), resume_of="old")
    state = TrainState(model=model, optimizer=torch.optim.SGD(model.parameters()))
    step = go_on(given, state, journal, classes).step
    return step, float(model.weight.detach())


def test_the_newest_of_a_folder_and_the_very_file_that_is_named(tmp_path: Path) -> None:
    journal = Journal(tmp_path, host="box0", source="rank 0")
    for name, step in {"best": 12, "final": 18}.items():
        write(tmp_path, name, step)
    assert begun(tmp_path, journal) == (18, 18.0)
    assert begun(tmp_path / "best.pt", journal) == (12, 12.0)
    assert "goes on from 'old': best.pt, step 12" in (tmp_path / "events.jsonl").read_text()


def test_a_named_one_that_is_damaged_is_not_replaced_by_another(tmp_path: Path) -> None:
    journal = Journal(tmp_path, host="box0", source="rank 0")
    for name, step in {"best": 12, "final": 18}.items():
        write(tmp_path, name, step)
    content = bytearray((tmp_path / "best.pt").read_bytes())
    content[100] ^= 1
    (tmp_path / "best.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"best\.pt: changed since it was written"):
        begun(tmp_path / "best.pt", journal)
    with pytest.raises(TrainerError, match="no checkpoint to go on from"):
        begun(tmp_path / "none", journal)


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (["cat", "dog", "fox"], "tells 2 classes apart, the data has 3: number 3 was none, now it is 'fox'"),
        (["cat", "cow", "dog"], "tells 2 classes apart, the data has 3: number 2 was 'dog', now it is 'cow'"),
        (["cat"], "tells 2 classes apart, the data has 1: number 2 was 'dog', now it is none"),
        (["dog", "cat"], "tells 2 classes apart, the data has 2: number 1 was 'cat', now it is 'dog'"),
    ],
)
def test_one_of_other_classes_is_refused_and_no_weight_is_taken(tmp_path: Path, now: list[str], said: str) -> None:
    journal = Journal(tmp_path, host="box0", source="rank 0")
    write(tmp_path, "final", 18, classes=["cat", "dog"])
    assert begun(tmp_path, journal, ["cat", "dog"]) == (18, 18.0)
    assert begun(tmp_path, journal, []) == (18, 18.0), "the task does not say"
    with pytest.raises(TrainerError, match=said):
        begun(tmp_path, journal, now)


def test_what_the_optimizer_is_told_is_that_of_now() -> None:
    """Only one rank loads it: the others would train on with other rules."""
    model = nn.Linear(2, 1)
    before = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.5)
    model(torch.ones(1, 2)).sum().backward()
    before.step()
    saved = TrainState(model=model, optimizer=before).to_dict()
    now = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.5)
    TrainState(model=model, optimizer=now).load(saved)
    (group,) = now.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.2, 0.5, 0)
    assert all("momentum_buffer" in now.state[p] for p in model.parameters())
    with pytest.raises(TrainerError, match="the checkpoint is of the optimizer SGD, now it is AdamW"):
        TrainState(model=model, optimizer=torch.optim.AdamW(model.parameters())).load(saved)

"""`motley tasks` and `motley new task`: what is listed is so, and what is written is the example that runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from motley.console.commands import new, tasks
from motley.remote.errors import UsageError
from motley.trainer.contract import task_list
from motley.trainer.contract.task_name import DATASETS, MODELS

ROOT = Path(__file__).parents[3]


def test_every_task_is_listed_within_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert tasks.tasks(json=False) == 0
    shown = capsys.readouterr().out
    for name in (*MODELS, *DATASETS):
        assert f"\n{name} " in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert tasks.tasks(json=True) == 0
    rows = json.loads(capsys.readouterr().out)["tasks"]
    assert [row["task"] for row in rows] == [f"{model}/{name}" for model in MODELS for name in DATASETS]
    assert rows[0] == {
        "task": "simple_cnn/digits", "parameters": 66154, "train": 1500, "test": 297, "sample": [1, 8, 8],
        "classes": 10,
    }  # fmt: skip


def test_the_names_are_those_that_cluster_toml_may_have() -> None:
    assert tuple(task_list.MODELS) == MODELS
    assert tuple(task_list.DATA) == DATASETS


def test_the_new_task_is_the_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "night.py"
    assert new.new_task(file) == 0
    assert file.read_text() == (ROOT / "examples/task/night.py").read_text()
    captured = capsys.readouterr()
    assert captured.out == f"{file}\n"
    assert f'task = "{file}"' in captured.err


@pytest.mark.parametrize(
    ("name", "cause"), [("night.py", "is there already"), ("night", "has to end in .py"), ("no/night.py", "can't be")]
)
def test_nothing_is_written_over(tmp_path: Path, name: str, cause: str) -> None:
    (tmp_path / "night.py").write_text("mine")
    with pytest.raises(UsageError, match=cause):
        new.new_task(tmp_path / name)
    assert (tmp_path / "night.py").read_text() == "mine"

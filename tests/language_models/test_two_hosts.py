"""SmolLM2-135M on two real hosts of 0.8 and 0.4 cores: what it has learned shows on rows that it has not seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.language_models import packaged

RUN_S = 1500.0
KEYS = ("steps", "seconds", "samples_per_s", "eval_on_start", "eval", "hosts")


@pytest.fixture(scope="module")
def folder(two: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """Of cluster.toml, with the model and both data sets in `llm/`."""
    folder = tmp_path_factory.mktemp("language-model")
    packaged.model(folder / "llm/model")
    assert packaged.conversations(folder / "llm/chat.jsonl", folder / "llm/unseen.jsonl") == (1_022, 84)
    assert packaged.programs(folder / "llm/programs.jsonl") == 164
    return folder


def trained(
    lab: Lab, folder: Path, name: str, *, train: str, length: int, test: str = "", **run: Any
) -> dict[str, Any]:
    """The summary of a run of LoRA that finished."""
    keys = {"task": "causal_lm", "accumulate": 1, "join_timeout_s": 240, "eval_every": 0, "checkpoint_every": 0, **run}
    config = lab.cluster_toml(
        folder,
        run=keys,
        data={"push": "llm"},
        task={"model": "model", "train": train, "length": length, "test": test, "test_fraction": 0.03},
    )
    words = lab.motley("run", "-c", str(config), "--plain", "--name", name)
    done = lab.exec(words, timeout_s=RUN_S, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    summary: dict[str, Any] = json.loads(done.stdout)
    assert summary["state"] == "finished"
    print(name, json.dumps({key: summary[key] for key in KEYS}))
    return summary


def test_answers_are_learned_from_questions(two: Lab, folder: Path) -> None:
    """On questions that were not trained on, of the same topics."""
    chat = trained(
        two, folder, "chat", train="chat.jsonl", test="unseen.jsonl", length=128, steps=200, global_batch=8,
        learning_rate=5e-4,
    )  # fmt: skip
    assert chat["eval_on_start"]["loss"] > 3.5
    assert chat["eval"]["loss"] < 2.9
    shares = {host["name"]: host["share"] for host in chat["hosts"]}
    assert shares["box1"] > shares["box2"]


def test_programs_are_a_second_data_set(two: Lab, folder: Path) -> None:
    code = trained(
        two, folder, "code", train="programs.jsonl", length=384, steps=12, global_batch=8, learning_rate=5e-4
    )
    assert code["eval"]["loss"] < code["eval_on_start"]["loss"]

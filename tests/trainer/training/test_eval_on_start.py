"""`run.eval_on_start`: the model as it came is evaluated once, before the first step, on two real ranks. What is
learned, and what counts as the best, is as without it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from motley.trainer.contract.spec import RunOptions
from motley.trainer.host.journal import Journal
from motley.trainer.rank.kept_state import BEFORE
from motley.trainer.training.loop import train
from motley.trainer.training.recorder import Recorder
from tests.trainer.coordinating import events, spec
from tests.trainer.ranks import make_job, run_ranks
from tests.trainer.training.speaking_task import Speaking
from tests.trainer.training.test_told_beside import Line

pytestmark = pytest.mark.ranks

OPTIONS = RunOptions(
    task="speaking", global_batch=12, steps=8, eval_every=1, checkpoint_every=1, seed=3, learning_rate=0.005,
    eval_on_start=True,
)  # fmt: skip
WITHOUT = replace(OPTIONS, eval_on_start=False)


def trained(rank: int, world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    """Train to the end as the run's first group does; rank 0 writes what it tells into `folder`."""
    torch.manual_seed(OPTIONS.seed)  # the weights that it comes with
    task, line = Speaking(), Line()
    shares = (9, 3) if world_size == 2 else (12,)
    job = make_job(rank, world_size, given["options"], shares, double=False, task=task)
    job.progress, job.epoch_ends = line, given.get("epoch_ends", BEFORE)
    if rank == 0:
        journal = Journal(given["folder"], host="box", source="rank 0")
        job.recorder = Recorder(given["folder"], journal, line, spec(2))
        job.recorder.joining(0)
        job.recorder.began(job)
    train(job)
    return {
        "weights": [parameter.detach().numpy() for parameter in job.task_model.parameters()],
        "best": (job.best, job.best_epoch),
        "summary": line.summary.summary("finished", {}, now=1.0),
    }


def both(folder: Path, options: RunOptions, ranks: int = 2, **given: Any) -> list[dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    return run_ranks(ranks, trained, {"folder": folder, "options": options, **given})


def test_the_model_as_it_came_is_evaluated_before_the_first_step(tmp_path: Path) -> None:
    first, _ = both(tmp_path, OPTIONS)
    found = [event["data"] for event in events(tmp_path, "evaluated")]
    assert [(data["epoch"], data["step"]) for data in found] == [(0, 0), (1, 4), (2, 8)]
    (told, *_) = [event["text"] for event in events(tmp_path, "evaluated")]
    assert told.startswith(f"before the first step: loss {found[0]['loss']:.4f}, doubled")
    assert [event["text"] for event in events(tmp_path, "answers")][:2] == [
        "before the first step: the model has answered 1 prompt", "epoch 1: the model has answered 1 prompt",
    ]  # fmt: skip
    as_it_came = first["summary"]["eval_on_start"]
    assert as_it_came == {"loss": found[0]["loss"], "doubled": found[0]["figures"]["doubled"]}
    assert first["summary"]["eval"]["loss"] == found[-1]["loss"] < as_it_came["loss"]


def test_it_is_the_loss_of_the_untouched_weights_however_many_ranks_there_are(tmp_path: Path) -> None:
    """Against a run whose rate is too small to change them."""
    both(tmp_path / "two", OPTIONS)
    both(tmp_path / "still", replace(WITHOUT, learning_rate=1e-12), ranks=1)
    (as_it_came, *_), (untouched, *_) = (
        [event["data"]["loss"] for event in events(tmp_path / name, "evaluated")] for name in ("two", "still")
    )
    assert as_it_came == pytest.approx(untouched, rel=1e-6)


def test_what_is_learned_and_what_is_best_are_as_without_it(tmp_path: Path) -> None:
    """Dropout draws after it: random numbers are as before. A best score would be kept in best.pt at step 0."""
    asked, plain = both(tmp_path / "asked", OPTIONS), both(tmp_path / "plain", WITHOUT)
    for one, other in zip(asked, plain, strict=True):
        assert all((a == b).all() for a, b in zip(one["weights"], other["weights"], strict=True))
        assert one["best"] == other["best"]
        assert other["best"][1] > 0
    kept = [event["data"]["step"] for event in events(tmp_path / "asked", "checkpoint")]
    assert kept == [event["data"]["step"] for event in events(tmp_path / "plain", "checkpoint")]
    assert min(kept) > 0
    assert "eval_on_start" not in plain[0]["summary"]
    assert [event["data"]["epoch"] for event in events(tmp_path / "plain", "evaluated")] == [1, 2]


def test_with_no_other_evaluation_than_the_last_it_is_made_all_the_same(tmp_path: Path) -> None:
    both(tmp_path, replace(OPTIONS, eval_every=0))
    assert [event["data"]["epoch"] for event in events(tmp_path, "evaluated")] == [0, 2]


def test_a_group_that_knows_of_it_does_not_make_it_again(tmp_path: Path) -> None:
    both(tmp_path, OPTIONS, epoch_ends=0)
    assert [event["data"]["epoch"] for event in events(tmp_path, "evaluated")] == [1, 2]

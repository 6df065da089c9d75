"""Weights that are not finite any more, on real ranks: told at once, no checkpoint of them, the last good one stays."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from motley.trainer.contract.spec import RunOptions
from motley.trainer.errors import Diverged
from motley.trainer.host.journal import Journal
from motley.trainer.host.rank_progress import Unheard
from motley.trainer.training.loop import train
from motley.trainer.training.recorder import Recorder
from tests.trainer.coordinating import spec
from tests.trainer.ranks import make_job, run_ranks

pytestmark = pytest.mark.ranks

OPTIONS = RunOptions(
    task="simple_cnn/digits", norm="group", global_batch=480, epochs=6, keep_checkpoints=1, checkpoint_steps=2,
    learning_rate=0.2,
)  # fmt: skip
BAD = 8  # the step after which they are not finite
WORDS = ("-c", "my cluster.toml")


class Line(Unheard):
    def __init__(self) -> None:
        super().__init__()
        self.told: list[dict[str, Any]] = []

    def report(self, **figures: Any) -> None:
        self.told.append(figures)

    def __getattr__(self, name: str) -> Any:
        return lambda *_args, **_figures: None


def trained(rank: int, world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    options: RunOptions = given["options"]
    job = make_job(rank, world_size, options, (480,), double=False)
    line, write = Line(), job.metrics.write
    about = replace(spec(1), options=options, words=WORDS)
    recorder = Recorder(given["folder"], Journal(given["folder"], host="box", source="rank 0"), line, about)
    job.recorder, job.schedule, job.progress = recorder, recorder.schedule, line

    def step_ended(sample: Any) -> None:
        if job.step == given.get("bad", BAD):
            next(iter(job.task_model.parameters())).data.fill_(math.nan)
        if job.step == given.get("skipped"):
            job.skipped_steps.update(range(BAD, 1000))
        write(sample)

    job.metrics.write = step_ended  # type: ignore[method-assign]
    try:
        state = train(job)
    except Diverged as error:
        state = f"{error}"  # type: ignore[assignment]
    return {
        "state": state,
        "step": job.step,
        "causes": [t["cause"] for t in line.told if "cause" in t],
        "best": job.best,
    }


def events(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines() if line)
    return [line for line in lines if line["kind"] == kind]


def steps_kept(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "checkpoints").glob("*.pt"))


COMMAND = "motley run -c 'my cluster.toml' --resume night@step_6 --set run.learning_rate=0.02"


def test_the_run_fails_at_once_with_the_command_that_goes_on_from_the_last_good_checkpoint(tmp_path: Path) -> None:
    (result,) = run_ranks(1, trained, {"options": OPTIONS, "folder": tmp_path})
    assert result["step"] == BAD  # the checkpoint of that step would have been of such weights
    cause = "the weights are not finite after step 8"
    assert result["state"] == f"{cause}. {COMMAND} goes on from step 6 at a rate 10 times lower"
    assert result["causes"] == [cause]
    (told,) = events(tmp_path, "diverged")
    assert (told["level"], told["data"]["command"], told["data"]["resume"]) == ("error", COMMAND, "night@step_6")
    assert told["data"]["stops"] is True
    assert steps_kept(tmp_path) == ["best", "epoch_1", "step_6"]


def test_with_go_on_it_goes_on_and_what_was_good_stays_and_is_the_best(tmp_path: Path) -> None:
    given = {"options": replace(OPTIONS, on_nan="go_on"), "folder": tmp_path, "bad": 7}
    (result,) = run_ranks(1, trained, given)
    assert (result["state"], result["causes"]) == ("finished", [])
    (told,) = events(tmp_path, "diverged")  # once
    assert told["text"].startswith("the loss of step 8 is not a number (rank 0)")
    assert told["data"]["resume"] == "night@step_6"
    assert steps_kept(tmp_path) == ["best", "epoch_1", "step_6"]  # none of steps 8 and later
    assert result["best"] < 1


def test_steps_that_a_loss_scaler_skips_are_no_event(tmp_path: Path) -> None:
    options = replace(OPTIONS, checkpoint_steps=0, checkpoint_every=0, eval_every=0, steps=12)
    (result,) = run_ranks(1, trained, {"options": options, "folder": tmp_path, "bad": 9, "skipped": 8})
    assert [event["data"]["why"] for event in events(tmp_path, "diverged")] == ["weights"]  # of final.pt, alone
    assert result["step"] == 12

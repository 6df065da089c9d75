"""The end of an epoch: what others hear of how far a rank has come, so that one that is stuck there is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from motley.trainer.contract.spec import RunOptions
from motley.trainer.host.journal import Journal
from motley.trainer.tasks.evaluation import Evaluation
from motley.trainer.training import checkpoint, epoch_end
from motley.trainer.training.epoch_end import COMBINES, ENDS, EVALUATED, end_epoch
from motley.trainer.training.recorder import Recorder
from tests.trainer.coordinating import events, spec
from tests.trainer.ranks import make_job, run_ranks

pytestmark = pytest.mark.ranks


class Heard:
    """Takes the place of the line to the coordinator, and of rank 0's recorder: in which order what is said."""

    step, boundary = 4, False

    def __init__(self) -> None:
        self.words: list[object] = []

    def arrive(self, stage: int = 0) -> None:
        self.words.append(stage)

    def works(self) -> None:
        self.words.append("works")

    def evaluated(self, *_: object) -> None: ...

    def checkpoint(self, _job: Any, name: str) -> bool:
        self.words.append(name)
        return True


def ending(rank: int, world_size: int, _given: dict[str, Any]) -> list[object]:
    options = RunOptions(task="mlp/digits", steps=8, global_batch=64, checkpoint_every=1, eval_every=1)
    job = make_job(rank, world_size, options, (48, 16), double=False)
    heard: Any = Heard()
    job.progress = job.recorder = heard
    end_epoch(job, 1, last=False)
    return list(heard.words)


def test_ranks_say_where_they_wait_for_each_other_and_that_they_are_at_work() -> None:
    writes, waits = run_ranks(2, ending, {})
    assert [word for word in writes if word != "works"] == [COMBINES, EVALUATED, "best", "epoch_1", ENDS]
    assert [word for word in waits if word != "works"] == [COMBINES, EVALUATED, ENDS]
    for words in (writes, waits):
        assert words[1] == "works"  # for each batch of the evaluation


SCORES = (0.9, 0.8, 0.85, 0.84)


def scored(rank: int, world_size: int, given: dict[str, Any]) -> list[tuple[float, int]]:
    """The best score, and after which epoch it was, after each of `SCORES`; when the first comes, nothing can be
    written."""
    options = RunOptions(task="mlp/digits", steps=8, global_batch=64, checkpoint_every=4, eval_every=1)
    job = make_job(rank, world_size, options, (48, 16), double=False)
    folder: Path = given["folder"]
    line: Any = Line()
    if rank == 0:
        job.recorder = Recorder(folder, Journal(folder, host="box", source="rank 0"), line, spec(1))
    scores = iter(SCORES)
    given_scores: Any = lambda *_: Evaluation(loss=0.5, metrics={"accuracy": next(scores)})  # noqa: E731
    epoch_end.evaluate = given_scores
    found = []
    for number in range(1, len(SCORES) + 1):
        in_the_way = folder / "checkpoints"
        if rank == 0 and number == 1:
            in_the_way.write_text("no folder")
        end_epoch(job, number, last=False)
        if rank == 0 and number == 1:
            in_the_way.unlink()
        found.append((job.best, job.best_epoch))
        job.step += 1
    return found


class Line(Heard):
    """To a coordinator, who is told and says nothing."""

    def report(self, **_: object) -> None: ...


def test_a_score_that_could_not_be_saved_does_not_keep_a_later_one_from_being_the_best(tmp_path: Path) -> None:
    """For `run.early_stop` an evaluation counts as better by the same score to beat."""
    found = run_ranks(2, scored, {"folder": tmp_path})
    assert found == [[(0.0, 1), (0.8, 2), (0.85, 3), (0.85, 3)]] * 2
    told = [event["data"] for event in events(tmp_path, "checkpoint")]
    assert [(data["path"], data["step"]) for data in told] == [
        ("checkpoints/best.pt", 1), ("checkpoints/best.pt", 2), ("checkpoints/epoch_4.pt", 3),
    ]  # fmt: skip
    assert checkpoint.load(tmp_path / "checkpoints/best.pt")["best"] == 0.85  # its own

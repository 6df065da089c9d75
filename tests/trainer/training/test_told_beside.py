"""What is told beside the training: units, what follows from the loss, what the model answers. On two real ranks, of
which rank 0 tells; what goes wrong in it harms nothing."""

from __future__ import annotations

import dataclasses
import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from motley.trainer.contract.spec import RunOptions
from motley.trainer.contract.wire import Sample, decode
from motley.trainer.coordinator.summary import RunSummary
from motley.trainer.host.journal import Journal
from motley.trainer.training.epoch_end import at_work, end_epoch
from motley.trainer.training.loop import train
from motley.trainer.training.recorder import Recorder
from tests.trainer.coordinating import events, spec
from tests.trainer.ranks import make_job, run_ranks
from tests.trainer.training.speaking_task import LENGTHS, Speaking

pytestmark = pytest.mark.ranks

OPTIONS = RunOptions(task="speaking", global_batch=12, steps=8, eval_every=1, checkpoint_every=0, seed=3)


class Line:
    """To a coordinator, whose summary takes the reports."""

    def __init__(self) -> None:
        self.step, self.boundary, self.asked = 0, False, list[str]()
        self.summary = RunSummary.of(dataclasses.replace(spec(2), run="night"), received=0.0)

    def report(self, **figures: Any) -> None:
        self.summary.take_report(json.loads(json.dumps(figures)))  # as it comes over the line

    def resumed(self, *_: object) -> None: ...

    def checkpointed(self, *_: object) -> None: ...

    def arrive(self, stage: int = 0) -> None: ...

    def works(self) -> None: ...


def trained(rank: int, world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    """Train the task to its end; rank 0 writes what it tells into `folder`."""
    task, line = Speaking(), Line()
    task.says = given.get("says", task.says)
    job = make_job(rank, world_size, OPTIONS, (9, 3) if world_size == 2 else (12,), double=False, task=task)
    job.progress = line
    if rank == 0:
        journal = Journal(given["folder"], host="box", source="rank 0")
        job.recorder = Recorder(given["folder"], journal, line, spec(2))
        job.recorder.began(job)
    state = train(job)
    metrics = [decode(line) for line in (job.metrics._folder / f"rank_{rank}.jsonl").read_bytes().splitlines()]
    return {
        "state": state,
        "samples": [one for one in metrics if isinstance(one, Sample)],
        "batches": [job.batches.ids(step, job.shares, rank).tolist() for step in range(8)],
        "weights": [parameter.detach().numpy() for parameter in job.task_model.parameters()],
        "seen": task.seen,
        "summary": line.summary.summary("finished", {}, now=1.0),
    }


def test_units_are_told_in_each_line_and_in_the_summary_of_all_and_by_host(tmp_path: Path) -> None:
    first, second = run_ranks(2, trained, {"folder": tmp_path})
    for rank in (first, second):
        assert [one.unit for one in rank["samples"]] == ["tokens"] * 8
        assert [one.units for one in rank["samples"]] == [int(LENGTHS[ids].sum()) for ids in rank["batches"]]
    table = first["summary"]
    assert table["tokens_per_s"] > table["samples_per_s"] > 0
    assert sum(host["tokens_per_s"] for host in table["hosts"]) == pytest.approx(table["tokens_per_s"], abs=0.02)


def test_what_follows_from_the_loss_and_what_the_model_answers_are_told_after_each_evaluation(tmp_path: Path) -> None:
    first, second = run_ranks(2, trained, {"folder": tmp_path})
    found = [event["data"] for event in events(tmp_path, "evaluated")]
    assert [data["epoch"] for data in found] == [1, 2]
    for data in found:  # the loss itself can't be told otherwise
        assert data["figures"] == {"doubled": pytest.approx(2 * data["loss"])}
    assert first["summary"]["eval"] == {"loss": found[-1]["loss"], "doubled": pytest.approx(2 * found[-1]["loss"])}
    said = events(tmp_path, "answers")
    assert [(event["data"]["step"], event["data"]["epoch"]) for event in said] == [(4, 1), (8, 2)]
    assert said[0]["text"] == "epoch 1: the model has answered 1 prompt"
    assert said[0]["data"]["answers"] == [{"prompt": "what is 2?", "answer": "about 4"}]
    assert (first["seen"][0], first["seen"][1]) == (False, False)  # eval mode, without gradients
    assert second["seen"] is None  # rank 0 alone is asked


def test_an_error_in_answers_is_told_once_and_the_run_learns_what_it_learns_without(tmp_path: Path) -> None:
    """The random numbers that `answers` draws are its own too: dropout draws after it."""
    folders = [tmp_path / name for name in ("told", "wrong")]
    for folder in folders:
        folder.mkdir()
    told = run_ranks(2, trained, {"folder": folders[0]})
    wrong = run_ranks(2, trained, {"folder": folders[1], "says": ZeroDivisionError("no answer")})
    assert [rank["state"] for rank in wrong] == ["finished", "finished"]
    for one, other in zip(told, wrong, strict=True):
        assert all((a == b).all() for a, b in zip(one["weights"], other["weights"], strict=True))
    (note,) = events(folders[1], "note")
    assert (note["level"], note["text"]) == (
        "warning", "what the model answers is not known: ZeroDivisionError: no answer",
    )  # fmt: skip
    assert events(folders[1], "answers") == []
    assert len(events(folders[1], "evaluated")) == 2


def ending(rank: int, world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    """The end of an epoch alone: what rank 0 is told of it, and what of its time counts as a step's."""
    task = Speaking()
    task.says = given["says"]
    job = make_job(rank, world_size, OPTIONS, (12,), double=False, task=task)
    drawn, end = torch.get_rng_state(), job.step_end
    end_epoch(job, 1, last=False)
    told = [entry[1:] for entry in job.recorder.told if entry[0] == "answered"]  # type: ignore[attr-defined]
    return {"same": torch.equal(drawn, torch.get_rng_state()), "told": told, "moved": job.step_end - end}


def test_answers_are_bounded_and_their_time_is_no_step_s() -> None:
    says = [(f"q{n}" * 3000, "a" * 5000) for n in range(20)]
    (rank,) = run_ranks(1, ending, {"says": says})
    ((epoch, answers, seconds),) = rank["told"]
    assert epoch == 1
    assert len(answers) == 8
    assert {len(text) for pair in answers for text in pair} == {2000}
    assert answers[0][1].endswith("a…")
    assert rank["same"]
    assert 0 < seconds < rank["moved"]  # the end of the last step is moved on by all of it


@pytest.mark.parametrize("says", ["no pairs", [("one",)], 7])
def test_answers_that_are_none_are_told_as_a_fault(tmp_path: Path, says: Any) -> None:
    first, _ = run_ranks(2, trained, {"folder": tmp_path, "says": says})
    assert first["state"] == "finished"
    assert [event["level"] for event in events(tmp_path, "note")] == ["warning"]


def test_a_task_without_these_hooks_tells_nothing_of_them(tmp_path: Path) -> None:
    (rank,) = run_ranks(1, plain, {"folder": tmp_path})
    assert {(one.unit, one.units) for one in rank["samples"]} == {("", None)}
    assert not any("tokens" in key for key in rank["summary"])
    assert events(tmp_path, "answers") == []
    assert all(event["data"]["figures"] == {} for event in events(tmp_path, "evaluated"))
    assert all(math.isfinite(event["data"]["loss"]) for event in events(tmp_path, "evaluated"))


def plain(rank: int, world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    hooks = ("units", "figures", "answers")
    kept = {name: Speaking.__dict__[name] for name in hooks}
    for name in hooks:
        delattr(Speaking, name)
    try:
        return trained(rank, world_size, given)
    finally:
        for name, hook in kept.items():
            setattr(Speaking, name, hook)


class Alive(Line):
    def __init__(self) -> None:
        super().__init__()
        self.heard = threading.Event()

    def works(self) -> None:
        self.heard.set()


def test_a_rank_that_asks_its_model_is_at_work_for_those_who_wait() -> None:
    line = Alive()
    with at_work(line):
        assert line.heard.wait(30)
    assert [thread.name for thread in threading.enumerate() if thread.name == "at-work"] == []

"""Checkpoints within an epoch, by real ranks: the right steps, the state of the step, as many as are to be kept."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from motley.trainer.contract.spec import RunOptions
from motley.trainer.host.journal import Journal
from motley.trainer.host.rank_progress import Unheard
from motley.trainer.training import checkpoint
from motley.trainer.training.loop import train
from motley.trainer.training.recorder import Recorder
from tests.trainer.coordinating import spec
from tests.trainer.ranks import make_job, run_ranks

pytestmark = pytest.mark.ranks

OPTIONS = RunOptions(
    task="simple_cnn/digits", norm="group", dtype="float64", schedule="constant", global_batch=128, steps=22,
    eval_every=0, checkpoint_every=0, checkpoint_steps=4, keep_checkpoints=2,
)  # fmt: skip


class Line(Unheard):
    """To a coordinator: what is asked, and that it was answered."""

    def __init__(self) -> None:
        super().__init__()
        self.answered: list[object] = []

    def checkpointed(self, requests: object) -> None:
        self.answered.append(requests)
        self.asked = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_args, **_figures: None


def trained(rank: int, world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    """`asked`: the steps in which two consoles ask for one."""
    options: RunOptions = given["options"]
    job = make_job(rank, world_size, options, given["shares"], double=False)
    folder: Path = given["folder"]
    line = Line()
    job.progress = line
    if rank == 0:
        recorder = Recorder(
            folder, Journal(folder, host="box", source="rank 0"), line, replace(spec(1), options=options)
        )
        job.recorder, job.schedule = recorder, recorder.schedule
    weights, write = {}, job.metrics.write

    def step_ended(sample: Any) -> None:
        if job.step in given["asked"]:
            line.asked = ["8f2b", "77aa"]
        weights[job.step] = figures(parameter.detach() for parameter in job.model.parameters())
        write(sample)

    job.metrics.write = step_ended  # type: ignore[method-assign]
    train(job)
    return {"answered": line.answered, "weights": weights}


def figures(parts: Iterable[torch.Tensor]) -> tuple[float, float]:
    """The sum and the norm of all of them, which no two steps have in common."""
    flat = torch.cat([part.flatten() for part in parts])
    return float(flat.sum()), float(flat.norm())


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines() if line]


def weights_in(path: Path) -> tuple[float, float]:
    return figures(checkpoint.load(path)["model"].values())


def test_they_hold_the_state_of_their_step_and_the_newest_stay_with_those_that_were_asked_for(tmp_path: Path) -> None:
    results = run_ranks(2, trained, {"options": OPTIONS, "shares": (96, 32), "folder": tmp_path, "asked": [7]})
    there = sorted(path.name for path in (tmp_path / "checkpoints").glob("*.pt"))
    assert there == ["final.pt", "step_16.pt", "step_20.pt", "step_7.pt"]
    assert [result["answered"] for result in results] == [[("8f2b", "77aa")], []]
    told = [event["data"] for event in events(tmp_path) if event["kind"] == "checkpoint"]
    assert [(data["step"], data.get("why")) for data in told] == [
        (4, "steps"), (7, "asked"), (8, "steps"), (12, "steps"), (16, "steps"), (20, "steps"), (22, None),
    ]  # fmt: skip
    assert told[1]["asked"] == ["8f2b", "77aa"]
    for step in (7, 16, 20):
        assert checkpoint.load(tmp_path / "checkpoints" / f"step_{step}.pt")["step"] == step
        assert weights_in(tmp_path / "checkpoints" / f"step_{step}.pt") == results[1]["weights"][step]


def test_ranks_that_train_apart_write_it_at_their_next_average(tmp_path: Path) -> None:
    options = replace(OPTIONS, local_steps=5, checkpoint_steps=8)
    (result,) = run_ranks(1, trained, {"options": options, "shares": (128,), "folder": tmp_path, "asked": [11]})
    told = [event["data"] for event in events(tmp_path) if event["kind"] == "checkpoint"]
    found = [(data["step"], data.get("why")) for data in told]
    assert ("steps" in dict(found).values(), dict(found).get(11)) == (True, None)
    for step, why in found[:-1]:
        assert why in ("steps", "asked")
        assert weights_in(tmp_path / "checkpoints" / f"step_{step}.pt") == result["weights"][step]
    assert result["answered"] == [("8f2b", "77aa")]


def test_a_disk_without_room_is_told_to_who_asked_and_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file in the way of the folder")
    given = {"options": replace(OPTIONS, steps=6), "shares": (128,), "folder": tmp_path, "asked": [3]}
    (result,) = run_ranks(1, trained, given)
    assert (max(result["weights"]), result["answered"]) == (6, [("8f2b", "77aa")])
    said = [event for event in events(tmp_path) if event["kind"] == "note"]
    assert [(event["data"]["step"], event["data"].get("asked")) for event in said] == [
        (3, ["8f2b", "77aa"]), (4, None), (6, None),
    ]  # fmt: skip
    assert "can't be written" in said[0]["text"]

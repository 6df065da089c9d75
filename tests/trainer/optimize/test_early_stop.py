"""A run that does not get better ends on all ranks at the same step, with the reason told; the average is evaluated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from motley.trainer.contract.spec import RunOptions
from motley.trainer.coordinator.summary import RunSummary
from motley.trainer.errors import TaskError
from motley.trainer.host.journal import Journal
from motley.trainer.optimize import early_stop
from motley.trainer.optimize.weight_average import WeightAverage
from motley.trainer.training.epoch_end import evaluate
from motley.trainer.training.loop import train
from motley.trainer.training.recorder import Recorder
from tests.trainer.coordinating import events, spec
from tests.trainer.noise_task import NoiseTask
from tests.trainer.ranks import make_job, run_ranks

BATCH = 24  # four steps an epoch
OPTIONS = RunOptions(
    global_batch=BATCH, epochs=20, early_stop=2, eval_every=2, checkpoint_every=0, learning_rate=1e-12, ema=0.5
)


class Noise(NoiseTask):
    name = "mlp/noise"

    def model(self) -> nn.Module:
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)).double()


class Line:
    """In place of the line to the coordinator."""

    def __init__(self) -> None:
        self.ledger = RunSummary(run="night", before_s=0.0, received=0.0, member_hosts=("host0", "host1"))

    def report(self, **figures: Any) -> None:
        self.ledger.take_report(figures)

    def works(self) -> None: ...


def ends_early(rank: int, world_size: int, given: dict[str, Any]) -> Any:
    job = make_job(rank, world_size, OPTIONS, (9, 15), double=False, task=Noise())
    line: Any = Line()
    if rank == 0:
        job.recorder = Recorder(given["folder"], Journal(given["folder"], host="box", source="rank 0"), line, spec(1))
    state = train(job)
    return state, job.step, job.best_epoch, line.ledger.summary("finished", {}, now=1.0) if rank == 0 else None


@pytest.mark.ranks
def test_all_ranks_end_after_the_evaluations_that_were_no_better(tmp_path: Path) -> None:
    """Weights as good as stand still: the evaluation after epoch 2 is the best, those after 4 and 6 are no better."""
    ranks = run_ranks(2, ends_early, {"folder": tmp_path})
    assert [(state, step, best) for state, step, best, _ in ranks] == [("finished", 6 * 4, 2)] * 2
    (event,) = events(tmp_path, "early_stop")
    assert event["text"] == "early stop after epoch 6: no better score since epoch 2"
    assert {key: event["data"][key] for key in ("step", "epoch", "best_epoch")} == {
        "step": 24, "epoch": 6, "best_epoch": 2,
    }  # fmt: skip
    table = ranks[0][3]
    assert (table["state"], table["steps"], table["samples"]) == ("finished", 24, 24 * BATCH)  # every step is told
    assert table["reason"] == event["text"]
    saved = torch.load(tmp_path / "checkpoints" / "final.pt", weights_only=True)
    assert (saved["step"], saved["best_epoch"]) == (24, 2)
    assert sorted(saved["ema"]) == sorted(saved["model"])
    Noise().model().load_state_dict(saved["ema"])


def test_a_run_that_goes_on_getting_better_is_not_ended() -> None:
    options = RunOptions(early_stop=2)
    assert [early_stop.is_over(options, 7, best) for best in (4, 5, 6, 7)] == [True, True, False, False]
    assert not early_stop.is_over(RunOptions(), 1000, 0)


def test_without_test_data_there_is_nothing_to_count() -> None:
    early_stop.check(OPTIONS, 12)
    with pytest.raises(TaskError, match="no test data"):
        early_stop.check(OPTIONS, 0)


def evaluates_the_average(rank: int, world_size: int, _given: dict[str, Any]) -> list[float]:
    job = make_job(rank, world_size, OPTIONS, (9, 15), double=False, task=Noise())
    assert job.ema is not None
    before = evaluate(job).loss
    with torch.no_grad():
        for parameter in job.task_model.parameters():
            parameter.mul_(3)
    unmoved = evaluate(job).loss
    job.ema.restart()
    return [before, unmoved, evaluate(job).loss]


@pytest.mark.ranks
def test_what_is_evaluated_is_the_average() -> None:
    for before, unmoved, moved in run_ranks(2, evaluates_the_average, {}):
        assert before == unmoved != moved


def test_the_average_has_the_buffers_of_the_model_and_moves_as_many_steps_as_it_is_told() -> None:
    model = Noise().model()
    average = WeightAverage(model, decay=0.9)
    first = [tensor.clone() for tensor in average.tensors()]
    model(torch.randn(5, 6).double())  # the statistics of its norm move
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    average.update(3)
    for before, now, weight in zip(first, average.tensors(), model.parameters(), strict=True):
        assert torch.allclose(now, 0.9**3 * before + (1 - 0.9**3) * weight.detach())
    assert all(torch.equal(a, b) for a, b in zip(average.refreshed().buffers(), model.buffers(), strict=True))
    assert not average.refreshed().training


def test_weights_with_too_few_digits_are_not_averaged() -> None:
    with pytest.raises(TaskError, match="16-bit weights"):
        WeightAverage(nn.Linear(2, 2).bfloat16(), decay=0.9)

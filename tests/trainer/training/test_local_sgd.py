"""Local SGD: it learns, all ranks hold the same after an average, a stop goes back to the last one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.ranks import make_job, run_ranks
from trainer import checkpoint
from trainer.epochs import evaluate
from trainer.journal import Journal
from trainer.local_sgd import LocalSgd
from trainer.loop import exchange, train, train_step
from trainer.recorder import Recorder, checkpoint_state
from trainer.restore import go_on
from trainer.spec import RunOptions

pytestmark = pytest.mark.ranks

OPTIONS = RunOptions(
    task="simple_cnn/digits", norm="group", global_batch=128, steps=120, local_steps=5, eval_every=0, checkpoint_every=0
)


def flat(job: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in job.model.parameters()])


def learning(rank: int, world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    options = dataclasses.replace(OPTIONS, **given["options"])
    job = make_job(rank, world_size, options, given["shares"], double=False)
    synced: list[Any] = []
    apart: list[Any] = []
    losses = []
    while job.step < job.steps_total:
        train_step(job, job.batches.place(job.step))
        losses.append(job.window.rows[-1].loss_sum)
        assert job.apart is not None
        (apart if job.apart.steps else synced).append((job.step, flat(job).numpy()))
    return {"synced": synced, "apart": apart, "losses": losses, "accuracy": evaluate(job)[0]}


@pytest.mark.parametrize(
    ("shares", "options"),
    [((96, 32), {}), ((128, 0), {"compress": "bf16"}), ((64, 64), {"outer_learning_rate": 1.0, "outer_momentum": 0.0})],
)
def test_ranks_apart_learn_digits_and_agree_at_every_average(shares: tuple[int, int], options: dict[str, Any]) -> None:
    """120 steps of 5 at a time; an epoch has 12, so that an average comes after its last 2, too."""
    first, second = run_ranks(2, learning, {"shares": shares, "options": options})
    assert [step for step, _ in first["synced"]] == [k for k in range(1, 121) if k % 12 in (0, 5, 10)]
    for (_, ours), (_, theirs) in zip(first["synced"], second["synced"], strict=True):
        assert torch.equal(torch.as_tensor(ours), torch.as_tensor(theirs))
    for (_, ours), (_, theirs) in zip(first["apart"], second["apart"], strict=True):
        assert not torch.equal(torch.as_tensor(ours), torch.as_tensor(theirs))
    assert first["accuracy"] == second["accuracy"] > 0.9


def averaging(rank: int, world_size: int, _given: dict[str, Any]) -> list[list[float]]:
    """Two averages of one weight that rank 0 moves by 1 with 30 samples, rank 1 by 5 with 10."""
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    apart = LocalSgd(RunOptions(local_steps=2, outer_learning_rate=0.5, outer_momentum=0.8), model)
    apart.begin()
    found = []
    for _ in range(2):
        with torch.no_grad():
            model.weight += (1.0, 5.0)[rank]
        apart.note((30, 10)[rank])
        apart.average()
        found.append([float(model.weight), float(world_size)])
    return found


def test_the_outer_step_is_nesterovs_weighted_by_samples() -> None:
    """By hand: the mean change is (30 * 1 + 10 * 5) / 40 = 2; then v = 2 and 2 * 0.8 + 2, and 0.5 (2 + 0.8 v) each."""
    for rank in run_ranks(2, averaging, {}):
        assert [weight for weight, _ in rank] == pytest.approx([1.8, 1.8 + 0.5 * (2 + 0.8 * 3.6)])


def exchanging(rank: int, world_size: int, _given: dict[str, Any]) -> tuple[list[Any], int]:
    job = make_job(rank, world_size, dataclasses.replace(OPTIONS, steps=16), (96, 32), double=False)
    train(job)
    told: Any = job.recorder
    return [len(rows[0]) for name, *arguments in told.told if name == "report" for rows in arguments], job.step


def test_ranks_do_not_wait_for_each_other_between_averages() -> None:
    """Figures are exchanged after 5 steps or more, at an average: steps 5, 10 and 16 (12 is too early)."""
    first, _ = run_ranks(2, exchanging, {})
    assert first == ([5, 5, 6], 16)


def stopped(rank: int, world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    """Ask for a stop after 8 steps, 3 after an average; go on from what was written."""
    job = make_job(rank, world_size, OPTIONS, (128,), double=False)
    assert job.apart is not None
    folder: Path = given["folder"]
    journal = Journal(folder, host="box", source="rank 0")
    recorder = Recorder(folder, journal, None)  # type: ignore[arg-type]
    recorder.report_alone = lambda *_: None  # type: ignore[method-assign]
    job.recorder = recorder
    for _ in range(5):
        train_step(job, job.batches.place(job.step))
    averaged = flat(job)
    for _ in range(3):
        train_step(job, job.batches.place(job.step))
    job.stop.asked = True
    state = train(job)
    again = make_job(rank, world_size, OPTIONS, (128,), double=False)
    step = go_on(str(folder / "checkpoints"), OPTIONS, again.model.module, again.optimizer, journal, again.apart)
    assert again.apart is not None
    return {
        "state": state,
        "step": step,
        "same": torch.equal(flat(again), averaged),
        "momentum": torch.equal(again.apart.state()["velocity"], job.apart.state()["velocity"]),
        "moving": float(again.apart.state()["velocity"].norm()) > 0,
    }


def test_a_stop_goes_back_to_the_last_average_and_keeps_the_outer_momentum(tmp_path: Path) -> None:
    (result,) = run_ranks(1, stopped, {"folder": tmp_path})
    assert result == {"state": "stopped", "step": 5, "same": True, "momentum": True, "moving": True}


def test_checkpoints_of_other_runs_have_no_outer_state(tmp_path: Path) -> None:
    (keys,) = run_ranks(1, state_keys, {"folder": tmp_path})
    assert "outer" not in keys


def state_keys(rank: int, world_size: int, given: dict[str, Any]) -> list[str]:
    job = make_job(rank, world_size, dataclasses.replace(OPTIONS, local_steps=1), (128,), double=False)
    saved = checkpoint.save(given["folder"] / "final.pt", checkpoint_state(job))
    return list(checkpoint.load(saved.path))


class Told:
    """The line to a coordinator: keeps what is reported."""

    def __init__(self) -> None:
        self.steps: list[list[float]] = []

    def report(self, **figures: Any) -> None:
        self.steps += figures["steps"]


def reporting(rank: int, world_size: int, given: dict[str, Any]) -> tuple[list[float], list[float]]:
    """The times of steps, in ms: as rank 0 reports them, and as this rank's own lines have them."""
    job = make_job(rank, world_size, dataclasses.replace(OPTIONS, steps=10), (96, 32), double=False)
    folder, line = given["folder"], Told()
    job.recorder = Recorder(folder, Journal(folder, host="box", source="rank"), line)  # type: ignore[arg-type]
    own = []
    while job.step < job.steps_total:
        train_step(job, job.batches.place(job.step))
        own.append(job.window.rows[-1].step_ms)
        if job.apart is not None and job.apart.steps == 0:
            exchange(job)
    return [step[2] for step in line.steps], own


def test_throughput_counts_the_wait_at_an_average(tmp_path: Path) -> None:
    """Between averages ranks end their steps at different times: only the time from average to average is common."""
    (reported, own), _ = run_ranks(2, reporting, {"folder": tmp_path})
    assert sum(reported) == pytest.approx(sum(own))
    assert reported[:5] == pytest.approx([sum(own[:5]) / 5] * 5)

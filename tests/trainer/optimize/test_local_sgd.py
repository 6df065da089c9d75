"""Local SGD: it learns, all ranks hold the same after an average, a stop goes back to the last one."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from motley.trainer.balance.measured_step import MeasuredStep
from motley.trainer.contract.spec import RunOptions
from motley.trainer.coordinator.summary import RunSummary
from motley.trainer.host.journal import Journal
from motley.trainer.host.rank_progress import Unheard
from motley.trainer.optimize import local_sgd
from motley.trainer.optimize.local_sgd import LocalSgd
from motley.trainer.rank.restore_state import go_on, take_up
from motley.trainer.training import checkpoint
from motley.trainer.training.epoch_end import evaluate
from motley.trainer.training.loop import abort, train, train_step
from motley.trainer.training.rebalance_window import exchange
from motley.trainer.training.recorder import Recorder
from motley.trainer.training.window_exchange import Window
from tests.trainer.coordinating import spec
from tests.trainer.ranks import BOUND_S, make_job, prepared_of, run_ranks

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
    return {"synced": synced, "apart": apart, "losses": losses, "accuracy": evaluate(job).accuracy}


@pytest.mark.parametrize(
    ("shares", "options"),
    [
        ((96, 32), {}),
        pytest.param((128, 0), {"compress": "bf16"}, marks=pytest.mark.long),
        ((64, 64), {"outer_learning_rate": 1.0, "outer_momentum": 0.0}),
    ],
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
        apart.average(contextlib.nullcontext())
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
    recorder = Recorder(folder, journal, Unheard(), spec(1))  # type: ignore[arg-type]
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
    there = replace(spec(1), options=OPTIONS, resume=str(folder / "checkpoints"))
    step = go_on(there, again.state, journal, ()).step
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


def hanging(rank: int, world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    """The main thread hangs in the second average, with 5 steps since the first; another one leaves the state."""
    job = make_job(rank, world_size, OPTIONS, (128,), double=False)
    prepared = prepared_of(job, given["folder"])
    for _ in range(5):
        train_step(job, job.batches.place(job.step))
    averaged = flat(job)
    reached = threading.Event()
    module: Any = local_sgd
    plain = module.sum_over_ranks

    def hang(*_: Any) -> None:
        reached.set()
        threading.Event().wait()

    module.sum_over_ranks = hang

    def main() -> None:
        for _ in range(5):
            train_step(job, job.batches.place(job.step))

    threading.Thread(target=main, daemon=True).start()
    assert reached.wait(BOUND_S)
    prepared.leave_behind(job)
    assert job.changing.locked()  # should it wake now, it changes nothing any more: its process is about to end
    module.sum_over_ranks = plain
    again = make_job(rank, world_size, OPTIONS, (128,), double=False)
    assert again.apart is not None
    left = take_up(given["folder"], rank, again.state, again.device)
    assert job.apart is not None
    return {
        "step": left and left.step,
        "same": torch.equal(flat(again), averaged),
        "momentum": torch.equal(again.apart.momentum, job.apart.momentum),
        "moving": float(again.apart.momentum.norm()) > 0,
    }


def test_a_rank_that_hangs_in_an_average_leaves_the_state_of_the_one_before(tmp_path: Path) -> None:
    (result,) = run_ranks(1, hanging, {"folder": tmp_path})
    assert result == {"step": 5, "same": True, "momentum": True, "moving": True}


def torn(rank: int, world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    """An average breaks with the first step of a new process: nothing was told of the 5 steps before it."""
    job = make_job(rank, world_size, OPTIONS, (128,), double=False)
    line = Told()
    job.recorder = Recorder(given["folder"], Journal(given["folder"], host="box", source="rank"), line, spec(1))  # type: ignore[arg-type]
    for _ in range(5):
        train_step(job, job.batches.place(job.step))
    job.window = Window()  # as that of a process which follows one that hung
    for _ in range(4):
        train_step(job, job.batches.place(job.step))

    def breaks(*_: Any) -> None:
        raise RuntimeError("gloo: Connection closed by peer")

    module: Any = local_sgd
    plain, module.sum_over_ranks = module.sum_over_ranks, breaks
    with contextlib.suppress(RuntimeError):
        train_step(job, job.batches.place(job.step))
    module.sum_over_ranks = plain
    abort(job)
    broken = (job.step, len(job.window.rows))
    for _ in range(5):
        train_step(job, job.batches.place(job.step))
    job.recorder.report_alone(job, job.window.rows)
    ledger = RunSummary(run="night", before_s=0.0, received=0.0, member_hosts=("box",))
    ledger.take_report({"steps": [[1, 128, 50.0, 0.7]], "batches": [[128]], "before": 0})
    ledger.take_report(line.reports[-1])
    told = [step[0] for step in line.steps]
    return {"broken": broken, "told": told, "steps": ledger.steps, "samples": ledger.samples}


def test_steps_that_an_average_undid_are_not_told_and_no_sample_is_missing_for_those_before(tmp_path: Path) -> None:
    (result,) = run_ranks(1, torn, {"folder": tmp_path})
    assert result == {"broken": (5, 0), "told": [6, 7, 8, 9, 10], "steps": 10, "samples": 10 * 128}


def stopped_apart(rank: int, world_size: int, given: dict[str, Any]) -> list[float]:
    job = make_job(rank, world_size, OPTIONS, (128,), double=False)
    line = Told()
    job.recorder = Recorder(given["folder"], Journal(given["folder"], host="box", source="rank"), line, spec(1))  # type: ignore[arg-type]
    for _ in range(8):
        train_step(job, job.batches.place(job.step))
    job.stop.asked = True
    train(job)
    return [step[0] for step in line.steps]


def test_a_stop_tells_of_the_steps_that_its_checkpoint_has(tmp_path: Path) -> None:
    (told,) = run_ranks(1, stopped_apart, {"folder": tmp_path})
    assert told == [1, 2, 3, 4, 5]


def untold(*_: Any) -> list[int]:
    """How many rows rank 0 may not know, from the steps of the group before on."""
    row = MeasuredStep(batch=8, loss_sum=1.0, busy_ms=1.0, step_ms=1.0)
    window = Window((row, row))
    window.note(row)
    counts = [len(window.rows), len(window)]
    window.gather()
    counts.append(len(window.rows))
    window.gathered()
    window.answer((1, 1), leave=False)
    window.answered()
    return [*counts, len(window.rows)]


def test_rows_of_the_group_before_stay_until_rank_0_has_answered() -> None:
    """It may go before it has told of them, and another rank is rank 0 then."""
    assert run_ranks(2, untold, {})[1] == [3, 1, 3, 0]


def test_checkpoints_of_other_runs_have_no_outer_state(tmp_path: Path) -> None:
    (keys,) = run_ranks(1, state_keys, {"folder": tmp_path})
    assert "outer" not in keys


def state_keys(rank: int, world_size: int, given: dict[str, Any]) -> list[str]:
    job = make_job(rank, world_size, dataclasses.replace(OPTIONS, local_steps=1), (128,), double=False)
    saved = checkpoint.save(given["folder"] / "final.pt", job.content())
    return list(checkpoint.load(saved.path))


class Told(Unheard):
    """The line to a coordinator: keeps what is reported."""

    def __init__(self) -> None:
        self.steps: list[list[float]] = []
        self.reports: list[dict[str, Any]] = []

    def report(self, **figures: Any) -> None:
        self.reports.append(figures)
        self.steps += figures["steps"]


def reporting(rank: int, world_size: int, given: dict[str, Any]) -> tuple[list[float], list[float]]:
    """The times of steps, in ms: as rank 0 reports them, and as this rank's own lines have them."""
    job = make_job(rank, world_size, dataclasses.replace(OPTIONS, steps=10), (96, 32), double=False)
    folder, line = given["folder"], Told()
    job.recorder = Recorder(folder, Journal(folder, host="box", source="rank"), line, spec(1))  # type: ignore[arg-type]
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

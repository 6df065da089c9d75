"""What a rank whose process hangs leaves to its next one: all that it went through, whether others complete it or not.

Found by `make chaos`: a new process went on without what its own step had done to the statistics of BatchNorm.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from motley.trainer.contract.spec import RunOptions
from motley.trainer.rank.kept_state import KeptState
from motley.trainer.rank.restore_state import leave, take_up
from motley.trainer.training import batchnorm
from motley.trainer.training.epoch_end import end_epoch
from motley.trainer.training.loop import train_step
from tests.trainer.ranks import BOUND_S, make_job, prepared_of, run_ranks

OPTIONS = RunOptions(
    task="simple_cnn/digits", norm="batch", global_batch=128, steps=120, eval_every=0, checkpoint_every=1
)


def counts(job: Any) -> list[int]:
    """Steps that each BatchNorm has seen."""
    return [int(value) for name, value in job.task_model.state_dict().items() if name.endswith("batches_tracked")]


def hanging(rank: int, world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    """Three steps, then the main thread hangs in what `given` says; another thread leaves the state for a new job."""
    job = make_job(rank, world_size, OPTIONS, (128,), double=False)
    for _ in range(3):
        train_step(job, job.batches.place(job.step))
    means = {k: v.clone() for k, v in job.task_model.state_dict().items() if k.endswith("running_mean")}
    reached = threading.Event()

    def hang(*_: Any, **__: Any) -> None:
        reached.set()
        threading.Event().wait()

    def shifted(model: torch.nn.Module, _: float) -> None:
        """What the statistics of others do to this rank's, of whom there are none here."""
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(1)

    def work() -> None:
        if given["in"] == "epoch end":
            end_epoch(job, 1, last=False)
        else:
            train_step(job, job.batches.place(job.step))

    batchnorm.combine = shifted  # type: ignore[assignment]
    job.recorder.checkpoint = hang  # type: ignore[assignment, method-assign]
    if given["in"] == "step":
        job.watch.all_reduced = hang  # type: ignore[method-assign]
    threading.Thread(target=work, daemon=True).start()
    assert reached.wait(BOUND_S)
    through = {k: v.clone() for k, v in job.task_model.state_dict().items() if k in means}
    prepared_of(job, given["folder"]).leave_behind(job)

    again = make_job(rank, world_size, OPTIONS, (128,), double=False)
    kept = take_up(given["folder"], rank, again.state, again.device)
    assert kept is not None
    own = kept.settle(*given["newest"])
    now = again.task_model.state_dict()
    return {
        "step": kept.step,
        "own": own,
        "counts": counts(again),
        "through": all(torch.equal(now[k], v) for k, v in through.items()),
        "before": all(torch.equal(now[k], v) for k, v in means.items()),
        "once": take_up(given["folder"], rank, again.state, again.device) is None,
    }


@pytest.mark.ranks
def test_a_step_that_others_have_completed_was_gone_through_by_the_rank_that_hung_too(tmp_path: Path) -> None:
    (result,) = run_ranks(1, hanging, {"folder": tmp_path, "in": "step", "newest": (4, 0)})
    assert result == {"step": 3, "own": True, "counts": [4, 4, 4], "through": True, "before": False, "once": True}


@pytest.mark.ranks
def test_a_step_that_nobody_has_completed_is_undone_by_the_next_process(tmp_path: Path) -> None:
    (result,) = run_ranks(1, hanging, {"folder": tmp_path, "in": "step", "newest": (3, 0)})
    assert result == {"step": 3, "own": True, "counts": [3, 3, 3], "through": False, "before": True, "once": True}


def broken_twice(rank: int, world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    """A step breaks after three and is undone; the group that follows breaks in `given["again"]` or before any step."""
    job = make_job(rank, world_size, OPTIONS, (128,), double=False)
    for _ in range(3):
        train_step(job, job.batches.place(job.step))
    kept, whole = KeptState(step=3), job.watch.all_reduced

    def breaks() -> None:
        raise ConnectionError

    job.watch.all_reduced = breaks  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        train_step(job, job.batches.place(job.step))
    kept.keep(job)
    kept.settle(3, 0)
    undone = counts(job)
    job.in_step, job.watch.all_reduced = False, whole  # type: ignore[method-assign]
    if given["again"]:
        train_step(job, job.batches.place(job.step))
    kept.keep(job)
    kept.settle(4, 0)
    return {"undone": undone, "then": counts(job), "step": kept.step, "begun": kept.undo is not None}


@pytest.mark.ranks
@pytest.mark.parametrize("again", [False, True])
def test_a_step_that_was_undone_is_gone_through_once_when_another_had_completed_it(again: bool) -> None:
    (result,) = run_ranks(1, broken_twice, {"again": again})
    assert result == {"undone": [3, 3, 3], "then": [4, 4, 4], "step": 3 + again, "begun": not again}


@pytest.mark.ranks
def test_an_end_of_an_epoch_is_undone_unless_others_came_through_it(tmp_path: Path) -> None:
    """Statistics were put together there."""
    for newest, through in (((3, 1), True), ((3, 0), False)):
        (result,) = run_ranks(1, hanging, {"folder": tmp_path, "in": "epoch end", "newest": newest})
        assert (result["step"], result["through"], result["before"]) == (3, through, not through)


def test_a_file_of_another_model_is_passed_over(tmp_path: Path) -> None:
    class Norms(torch.nn.Module):
        def __init__(self, n: int) -> None:
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(n)

    from motley.trainer.optimize.train_state import TrainState
    from motley.trainer.training.step_undo import StepUndo

    def state(n: int) -> TrainState:
        model = Norms(n)
        return TrainState(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))

    cpu, small = torch.device("cpu"), state(2)
    undo = StepUndo(small.model, cpu)
    undo.note()
    leave(tmp_path, 0, KeptState(step=7, undo=undo), small.to_dict())
    assert take_up(tmp_path, 0, state(3), cpu) is None
    leave(tmp_path, 0, KeptState(step=7, undo=undo), small.to_dict())
    taken = take_up(tmp_path, 0, state(2), cpu)
    assert taken is not None
    assert (taken.step, taken.undo is not None) == (7, True)

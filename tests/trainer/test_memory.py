"""Memory that runs out: the step is computed again in smaller parts, with the same result, and nobody hangs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from motley.trainer.contract.spec import RunOptions
from motley.trainer.errors import OutOfMemory
from motley.trainer.host.journal import Journal
from motley.trainer.tasks.task import Task
from motley.trainer.training.loop import train, train_step
from motley.trainer.training.recorder import Recorder
from motley.trainer.training.step_undo import StepUndo
from motley.trainer.training.window_exchange import Window
from tests.trainer.coordinating import spec
from tests.trainer.ranks import make_job, run_ranks

pytestmark = pytest.mark.ranks

WIDTH = 600  # a layer of this width is more than DDP's first bucket, so that gradients leave in several parts


def no_memory(says: str) -> RuntimeError:
    """What a library says, or torch by itself."""
    return RuntimeError(says) if says else torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 MiB")


class Narrow(torch.autograd.Function):
    """The identity, on a device that has memory for so many samples only."""

    @staticmethod
    def forward(context: Any, inputs: Tensor, room: int, where: str, says: str) -> Tensor:
        context.room, context.where, context.says = room, where, says
        if where == "forward" and len(inputs) > room:
            raise no_memory(says)
        return inputs.clone()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        if context.where == "backward" and len(gradients[0]) > context.room:
            raise no_memory(context.says)
        return gradients[0], None, None, None


class Model(nn.Module):
    def __init__(self, room: int, where: str, batchnorm: bool, says: str) -> None:
        super().__init__()
        self.room, self.where, self.says = room, where, says
        self.first = nn.Linear(64, WIDTH)
        self.norm = nn.BatchNorm1d(WIDTH) if batchnorm else nn.LayerNorm(WIDTH)
        self.second = nn.Linear(WIDTH, WIDTH)
        self.third = nn.Linear(WIDTH, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.relu(self.norm(self.first(images)))
        # The second and third layers' gradients are sent before this one's backward is reached.
        hidden = Narrow.apply(hidden, self.room, self.where, self.says)  # type: ignore[no-untyped-call]
        outputs: Tensor = self.third(torch.relu(self.second(hidden)))
        return outputs


class Dots(Task):
    """100 points of ten kinds. There is memory for `room` samples; `where` and in which words it runs out."""

    name = "dots"

    def __init__(self, *, room: int, where: str = "backward", batchnorm: bool = False, says: str = "") -> None:
        super().__init__()
        self.room, self.where, self.batchnorm, self.says = room, where, batchnorm, says

    def model(self) -> nn.Module:
        torch.manual_seed(0)
        return Model(self.room, self.where, self.batchnorm, self.says).double()

    def train_data(self) -> tuple[Tensor, Tensor]:
        ids = torch.arange(100)
        return torch.sin(torch.arange(64).double() * (ids[:, None] + 1) * 0.37), ids % 10

    def test_data(self) -> tuple[Tensor, Tensor]:
        points, kinds = self.train_data()
        return points[:10], kinds[:10]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.where == "loss" and len(outputs) > self.room and outputs.requires_grad:
            raise no_memory(self.says)
        return nn.functional.cross_entropy(outputs, targets, reduction="none")


def options(**changes: Any) -> RunOptions:
    return dataclasses.replace(
        RunOptions(task="dots/dots", norm="group", global_batch=40, steps=6, eval_every=0, checkpoint_every=0),
        **changes,
    )


def narrow_run(rank: int, world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    """Train where rank 1 has little memory: losses by step, batches, the last parameters, what was reported."""
    room = given["rooms"][rank]
    task = Dots(room=room, where=given["where"])
    job = make_job(rank, world_size, options(**given.get("options", {})), (24, 16), double=False, task=task)
    losses = []
    while job.step < job.steps_total:
        train_step(job, job.batches.place(job.step))
        losses.append(job.window.rows[-1].loss_sum)
    told: Any = job.recorder
    return {
        "losses": losses,
        "batches": [row.batch for row in job.window.rows],
        "parameters": [p.detach().numpy() for p in job.model.parameters()],
        "told": [one for one in told.told if one[0] == "ran_out_of_memory"],
    }


def whole_run(rank: int, world_size: int, _given: dict[str, Any]) -> list[float]:
    job = make_job(rank, world_size, options(), (40,), double=False, task=Dots(room=1000))
    while job.step < job.steps_total:
        train_step(job, job.batches.place(job.step))
    return [row.loss_sum for row in job.window.rows]


@pytest.fixture(scope="module")
def whole() -> list[float]:
    return list(run_ranks(1, whole_run, {})[0])


@pytest.mark.parametrize("where", ["forward", "loss", "backward"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_no_step_and_no_sample_is_lost(whole: list[float], where: str, accumulate: int) -> None:
    """Rank 1 has room for 4 of its 16 samples. In backward, memory runs out when other ranks already add up."""
    given = {"rooms": (1000, 4), "where": where, "options": {"accumulate": accumulate}}
    first, second = run_ranks(2, narrow_run, given)
    assert [a + b for a, b in zip(first["losses"], second["losses"], strict=True)] == pytest.approx(whole, rel=1e-9)
    assert second["batches"] == [16, 16, 8, 16, 16, 8]
    assert first["told"] == []
    assert second["told"] == [("ran_out_of_memory", 16, 4) if accumulate == 1 else ("ran_out_of_memory", 6, 3)]
    for ours, theirs in zip(first["parameters"], second["parameters"], strict=True):
        assert torch.equal(torch.as_tensor(ours), torch.as_tensor(theirs))


def test_every_rank_may_run_out_in_the_same_step(whole: list[float]) -> None:
    first, second = run_ranks(2, narrow_run, {"rooms": (5, 4), "where": "backward"})
    assert [a + b for a, b in zip(first["losses"], second["losses"], strict=True)] == pytest.approx(whole, rel=1e-9)
    assert first["told"] == [("ran_out_of_memory", 24, 3)]


def test_ranks_that_train_apart_recover_too() -> None:
    given = {"rooms": (1000, 4), "where": "backward", "options": {"local_steps": 3}}
    first, second = run_ranks(2, narrow_run, given)
    plenty = run_ranks(2, narrow_run, {**given, "rooms": (1000, 1000)})
    assert second["losses"] == pytest.approx(plenty[1]["losses"], rel=1e-9)
    assert first["losses"] == pytest.approx(plenty[0]["losses"], rel=1e-9)


def no_room(rank: int, world_size: int, _given: dict[str, Any]) -> str:
    job = make_job(rank, world_size, options(), (40,), double=False, task=Dots(room=0))
    with pytest.raises(OutOfMemory) as caught:
        train_step(job, job.batches.place(0))
    return str(caught.value)


def test_a_device_too_small_for_one_sample_says_so() -> None:
    text = run_ranks(1, no_room, {})[0]
    assert text == (
        "cpu: one sample does not fit into its memory (CUDA out of memory.). "
        "Take a smaller model, or leave this device out"
    )


def with_batchnorm(rank: int, world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    """One step of 16 with room for 8: the running statistics afterwards, and what they would be in two parts of 8."""
    task = Dots(room=8, batchnorm=True)
    job = make_job(rank, world_size, options(global_batch=16, norm="batch"), (16,), double=False, task=task)
    job.recorder = Recorder(given["folder"], Journal(given["folder"], host="box", source="rank 0"), None, spec(1))  # type: ignore[arg-type]
    inputs, _ = job.data.train_batch(job.batches.ids(0, (16,), 0), 0).content
    model = Dots(room=1000, batchnorm=True).model()
    for part in inputs.split(8):
        model(part)
    train_step(job, job.batches.place(0))
    found = {name: b.numpy() for name, b in job.task_model.named_buffers()}
    job.window = Window()
    return {"found": found, "expected": {name: b.numpy() for name, b in model.named_buffers()}}


def test_the_aborted_attempt_leaves_no_trace_in_batchnorm_and_is_told_of(tmp_path: Path) -> None:
    result = run_ranks(1, with_batchnorm, {"folder": tmp_path})[0]
    assert result["found"].keys() == result["expected"].keys()
    for name, value in result["expected"].items():
        assert torch.allclose(torch.as_tensor(result["found"][name]), torch.as_tensor(value)), name
    (line,) = (tmp_path / "events.jsonl").read_text().splitlines()
    event = json.loads(line)
    assert (event["kind"], event["level"]) == ("memory", "warning")
    assert event["data"] == {"step": 1, "member": 0, "before": 16, "after": 8}
    assert "ran out of memory at 16 samples in one pass; step 1 was computed again with 8" in event["text"]


def test_undo_puts_buffers_and_random_numbers_back() -> None:
    model = nn.BatchNorm1d(3)
    undo = StepUndo(model, torch.device("cpu"))
    undo.note()
    drawn = torch.rand(4)
    model(torch.rand(8, 3))
    undo.restore()
    assert torch.equal(torch.rand(4), drawn)
    assert int(model.num_batches_tracked or 0) == 0
    assert torch.equal(model.running_mean, torch.zeros(3)) if model.running_mean is not None else False


def whole_loop(rank: int, world_size: int, _given: dict[str, Any]) -> str | None:
    job = make_job(
        rank, world_size, options(steps=None, epochs=2, eval_every=1), (24, 16), double=False, task=Dots(room=4)
    )
    return train(job)


def test_the_loop_goes_on_to_its_end_and_evaluates() -> None:
    assert run_ranks(2, whole_loop, {}) == ["finished", "finished"]

"""Mixed precision on real ranks, which are CPUs: bf16 at any split, and fp16 with a step that is skipped on all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from motley.trainer.contract.spec import RunOptions
from motley.trainer.rank.share_state import share_state
from motley.trainer.training.epoch_end import evaluate
from motley.trainer.training.loop import train_step
from motley.trainer.training.sampler import BatchSampler
from tests.trainer.noise_task import NoiseTask
from tests.trainer.ranks import make_job, run_ranks
from tests.trainer.written_out import WrittenOut

pytestmark = pytest.mark.ranks

BATCH = 24
SPLITS = ((24, 0), (23, 1), (9, 15))


class Single(NoiseTask):
    """In float32; sample 40 has inputs beside which those of the others are nothing, where it is `spoilt`."""

    name = "mlp/noise"
    spoilt = False

    def model(self) -> nn.Module:
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 4))

    def train_data(self) -> tuple[Tensor, Tensor]:
        inputs, labels = super().train_data()
        inputs = inputs.float()
        if self.spoilt:
            inputs[40] *= 1e4
        return inputs, labels

    def test_data(self) -> tuple[Tensor, Tensor]:
        inputs, labels = super().test_data()
        return inputs.float(), labels

    def augment(self, batch: tuple[Tensor, Tensor], bits: Tensor) -> tuple[Tensor, Tensor]:
        del bits
        return batch


def gradients(rank: int, world_size: int, given: dict[str, Any]) -> dict[Any, Any]:
    """Of step 1, for each split; what the model's first layer gave; the loss of an evaluation."""
    found: dict[Any, Any] = {"dtypes": set()}
    for split in SPLITS:
        job = make_job(rank, world_size, given["options"], split, double=False, task=Single())
        first: Any = job.task_model[0]  # type: ignore[index]
        first.register_forward_hook(lambda _m, _i, output: found["dtypes"].add(str(output.dtype)))
        train_step(job, job.batches.place(0))
        found[split] = [p.grad.numpy() for p in job.task_model.parameters() if p.grad is not None]
        found["loss"] = evaluate(job).loss
    found["precision"] = job.precision.name
    return found


def one_process(dtype: torch.dtype | None) -> list[Tensor]:
    task = WrittenOut(Single())
    model = task.model()
    inputs, targets = task.train_batch(BatchSampler(count=96, global_batch=BATCH, seed=0).ids(0, (BATCH,), 0), 0)
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        loss = nn.functional.cross_entropy(model(inputs), targets)
    torch.autograd.backward(loss)
    return [p.grad for p in model.parameters() if p.grad is not None]


def relative(found: list[Any], expected: list[Tensor]) -> float:
    ours, theirs = (torch.cat([torch.as_tensor(f).flatten().double() for f in each]) for each in (found, expected))
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize(("asked", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_every_split_computes_in_it_and_comes_to_the_gradient_of_one_process(asked: str, dtype: torch.dtype) -> None:
    """As far as the format goes: it has 8 or 11 binary digits, and parts of a sum are rounded one by one."""
    ranks = run_ranks(2, gradients, {"options": RunOptions(global_batch=BATCH, steps=4, precision=asked)})  # type: ignore[arg-type]
    rounding, exact = torch.finfo(dtype).eps, one_process(None)
    for rank in ranks:
        assert (rank["precision"], rank["dtypes"]) == (asked, {str(dtype)})
        for split in SPLITS:
            assert relative(rank[split], one_process(dtype)) < 2 * rounding, split
        assert relative(rank[SPLITS[0]], exact) > rounding / 100  # it is not what full precision gives
        assert rank["loss"] == ranks[0]["loss"]


def skipping(rank: int, world_size: int, _given: dict[str, Any]) -> dict[str, Any]:
    """An epoch in fp16: one sample, and so one rank, has a gradient that is too large for the scale."""
    task = Single()
    task.spoilt = True
    options = RunOptions(global_batch=BATCH, steps=4, precision="fp16", clip_norm=1.0)
    job = make_job(rank, world_size, options, (9, 15), double=False, task=task)
    assert job.scaler is not None
    steps = []
    while job.step < 4:
        before = [p.detach().clone() for p in job.task_model.parameters()]
        mine = 40 in job.batches.ids(job.step, job.shares, rank)
        train_step(job, job.batches.place(job.step))
        moved = any(not torch.equal(b, p) for b, p in zip(before, job.task_model.parameters(), strict=True))
        steps.append((job.step, mine, moved, job.scaler.skipped, job.scaler.scale))
    if rank:
        job.scaler.load({"scale": 2.0, "good_steps": 5})
    share_state(job.task_model, job.optimizer, 4, more=job.state.tensors()).put()
    return {
        "steps": steps,
        "weights": [p.detach().numpy() for p in job.task_model.parameters()],
        "shared": job.scaler.state(),
        "samples": [row.batch for row in job.window.rows],
    }


def test_a_gradient_too_large_for_the_scale_is_skipped_on_all_ranks_alike() -> None:
    ranks = run_ranks(2, skipping, {})
    with_it = [[mine for _, mine, *_ in rank["steps"]] for rank in ranks]
    assert sorted(map(sum, with_it)) == [0, 1]
    at = max(with_it, key=sum).index(True)
    for rank in ranks:
        assert [step for step, *_ in rank["steps"]] == [1, 2, 3, 4]
        assert [moved for _, _, moved, *_ in rank["steps"]] == [number != at for number in range(4)]
        assert [skipped for *_, skipped, _ in rank["steps"]] == [number == at for number in range(4)]
        assert rank["steps"][-1][-1] == 32768.0
        assert rank["shared"] == ranks[0]["shared"] == {"scale": 32768.0, "good_steps": 3 - at}
        for ours, theirs in zip(rank["weights"], ranks[0]["weights"], strict=True):
            assert (ours == theirs).all()
    assert [rank["samples"] for rank in ranks] == [[9] * 4, [15] * 4]

"""Compressed gradients: half the bytes on the wire, nearly the same numbers, the same on every rank."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import torch.distributed as dist

from motley.trainer.contract.spec import RunOptions
from motley.trainer.errors import TrainerError
from motley.trainer.optimize.gradient_compression import check, wire_dtype
from motley.trainer.training.loop import train_step
from tests.trainer.ranks import make_job, run_ranks

pytestmark = pytest.mark.ranks

OPTIONS = RunOptions(task="simple_cnn/digits", norm="group", global_batch=128, steps=12)
BITS = {"fp16": 11, "bf16": 8}  # of the mantissa, the hidden one among them


def compressed(rank: int, world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    """For each kind: the first step's gradient, all losses, the last parameters, the dtypes sent."""
    found: dict[str, Any] = {}
    sent: list[str] = []
    plain = dist.all_reduce

    def counted(tensor: torch.Tensor, *arguments: Any, **named: Any) -> Any:
        sent.append(str(tensor.dtype))
        return plain(tensor, *arguments, **named)

    dist.all_reduce = counted
    for kind in given["kinds"]:
        job = make_job(rank, world_size, dataclasses.replace(OPTIONS, compress=kind), (96, 32), double=False)
        sent.clear()
        losses, first = [], None
        while job.step < job.steps_total:
            train_step(job, job.batches.place(job.step))
            first = first or [p.grad.clone().numpy() for p in job.model.parameters() if p.grad is not None]
            losses.append(job.window.rows[-1].loss_sum)
        last = [p.detach().clone().numpy() for p in job.model.parameters()]
        found[kind] = {"gradient": first, "losses": losses, "parameters": last, "sent": set(sent)}
    dist.all_reduce = plain
    return found


def flat(arrays: list[Any]) -> torch.Tensor:
    return torch.cat([torch.as_tensor(a).flatten() for a in arrays])


def test_gradients_travel_short_and_arrive_nearly_whole() -> None:
    ranks = run_ranks(2, compressed, {"kinds": ["none", "fp16", "bf16"]})
    exact = flat(ranks[0]["none"]["gradient"])
    losses = [a + b for a, b in zip(ranks[0]["none"]["losses"], ranks[1]["none"]["losses"], strict=True)]
    for kind, bits in BITS.items():
        run = ranks[0][kind]
        assert run["sent"] == {"torch.float16" if kind == "fp16" else "torch.bfloat16"}
        error = float((flat(run["gradient"]) - exact).norm() / exact.norm())
        assert 0 < error < 2.0 ** (1 - bits)
        assert torch.equal(flat(run["parameters"]), flat(ranks[1][kind]["parameters"]))
        curve = [a + b for a, b in zip(run["losses"], ranks[1][kind]["losses"], strict=True)]
        assert curve == pytest.approx(losses, rel=0.05)
        assert curve[-1] < curve[0] / 2


def refused(_rank: int, _world_size: int, _given: dict[str, Any]) -> str:
    """gloo has no sum for int16: what an older torch says to bf16."""
    for name in ("none", "fp16", "bf16"):
        check(wire_dtype(name), torch.device("cpu"))
    with pytest.raises(TrainerError) as caught:
        check(torch.int16, torch.device("cpu"))
    return str(caught.value)


def test_a_format_that_the_backend_cannot_add_up_is_refused_before_the_first_step() -> None:
    for text in run_ranks(2, refused, {}):
        assert "can't add up int16 over gloo on cpu" in text
        assert "Set run.compress to 'fp16' or 'none'" in text

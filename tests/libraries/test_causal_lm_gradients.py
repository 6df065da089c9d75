"""Gradients of a language model on real ranks are those of one process that takes the step's rows one by one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from motley.trainer.contract.spec import RunOptions
from motley.trainer.training.loop import train_step
from motley.trainer.training.sampler import BatchSampler
from tests.libraries.tiny_llama import causal_lm, rows_of, with_some_adapter, write_llama, written_out
from tests.trainer.ranks import make_job, run_ranks, with_torch

BOUND_S = 600.0  # importing transformers takes long where others compute
ROWS, BATCH = 19, 8  # the last step of an epoch has 3 rows
RUN = RunOptions(task="causal_lm", global_batch=BATCH, steps=3, optimizer="adamw", learning_rate=1e-3)
TASK: dict[str, Any] = {"dtype": "float64", "loss_chunk": 5, "lora_targets": ["q_proj", "down_proj"]}
NOTHING: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Case:
    """One step: rows of each rank, its micro-batches, what is masked."""

    shares: tuple[int, int]
    accumulate: tuple[int, int] = (1, 1)
    step: int = 0
    mask_first: bool = False  # no label of rank 0 counts
    again: bool = False  # activations are computed again
    method: str = "lora"
    by_work: bool = False  # shares are of the step's work; else of its rows, so that it is known who has which

    @property
    def rows(self) -> list[dict[str, Tensor]]:
        return rows_of(ROWS, masked=tuple(self.ids(self.shares, 0).tolist()) if self.mask_first else NOTHING)

    def ids(self, shares: tuple[int, ...], rank: int) -> Tensor:
        return BatchSampler(count=ROWS, global_batch=BATCH, seed=RUN.seed).ids(self.step, shares, rank)


CASES = {
    "2 against 6 rows": Case((2, 6)),
    "1 against 3 micro-batches": Case((4, 4), (1, 3)),
    "a rank whose labels are all masked": Case((3, 5), (2, 2), mask_first=True),
    "a rank with nothing": Case((8, 0)),
    "a short last batch": Case((5, 3), (1, 2), step=2),
    "activations computed again": Case((2, 6), (2, 2), again=True),
    "all weights": Case((2, 6), (1, 3), method="full"),
    "shares of work": Case((2, 6), (1, 3), by_work=True),
}


def gradients(rank: int, world_size: int, given: dict[str, Any]) -> list[tuple[float, list[Any]]]:
    """Of each case, this rank's part of the loss and the gradients that it has after the step."""
    found = []
    for case in CASES.values():
        task = causal_lm(given["model"], case.rows, RUN, **TASK, method=case.method)
        if not case.by_work:
            task.work = lambda: None  # type: ignore[method-assign]
        run = dataclasses.replace(RUN, accumulate=case.accumulate[rank], activation_checkpointing=case.again)
        job = make_job(rank, world_size, run, case.shares, double=False, task=task)
        with_some_adapter(job.task_model)
        job.step = case.step
        job.optimizer.step = lambda: None  # type: ignore[method-assign,assignment]  # the gradients stay
        train_step(job, job.batches.place(case.step))
        grads = [p.grad.numpy() for p in job.model.parameters() if p.grad is not None]
        found.append((job.window.rows[-1].loss_sum, grads))
    return found


def alone(model: Path, case: Case) -> tuple[float, list[Tensor]]:
    task: Any = causal_lm(model, case.rows, RUN, **TASK, method=case.method)
    torch.manual_seed(RUN.seed)
    net = task.model()
    with_some_adapter(net)
    rows, ids = case.rows, case.ids((BATCH,), 0)
    total, count = written_out(net, [rows[number] for number in ids.tolist()])
    torch.autograd.backward(total / count)
    return float(total.detach()) / count * len(ids), [p.grad for p in net.parameters() if p.grad is not None]


def relative(found: list[Any], expected: list[Tensor]) -> float:
    """Norm of the difference over the norm, of all parameters together."""
    ours = torch.cat([torch.as_tensor(f).flatten() for f in found])
    theirs = torch.cat([e.flatten() for e in expected])
    return float((ours - theirs).norm() / theirs.norm())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def ranks(model: Path) -> list[list[tuple[float, list[Any]]]]:
    with_torch().set_forkserver_preload(["tests.libraries.imported"])  # once for both ranks
    return run_ranks(2, gradients, {"model": model}, BOUND_S)


@pytest.mark.parametrize("name", CASES)
def test_they_are_those_of_one_process(model: Path, ranks: list[list[tuple[float, list[Any]]]], name: str) -> None:
    loss, expected = alone(model, CASES[name])
    mine = [rank[list(CASES).index(name)] for rank in ranks]
    assert sum(part for part, _ in mine) == pytest.approx(loss, rel=1e-9)
    for _, found in mine:
        assert len(found) == len(expected)
        assert relative(found, expected) < 1e-6


def test_a_mean_of_means_would_be_another_gradient(model: Path) -> None:
    """What counting labels is there for: rows of unequal length, each rank's mean weighing as much as the other's."""
    case = CASES["2 against 6 rows"]
    task: Any = causal_lm(model, case.rows, RUN, **TASK)
    net = task.model()
    with_some_adapter(net)
    for rank in (0, 1):
        total, count = written_out(net, [case.rows[number] for number in case.ids(case.shares, rank).tolist()])
        torch.autograd.backward(total / count / 2)
    assert relative([p.grad for p in net.parameters() if p.grad is not None], alone(model, case)[1]) > 0.05

"""Rows of different lengths on real ranks: shared out by work, cut by length, learned as one process learns them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from motley.trainer.contract.spec import RunOptions
from motley.trainer.errors import OutOfMemory
from motley.trainer.optimize.optimizer import rate_factor
from motley.trainer.training.loop import train, train_step
from motley.trainer.training.sampler import BatchSampler
from tests.bench.llm.rows import Rows
from tests.trainer.ranks import make_job, run_ranks

pytestmark = pytest.mark.ranks

BATCH, ROWS = 12, 40
OPTIONS = RunOptions(task="rows.py", global_batch=BATCH, steps=4, eval_every=0, checkpoint_every=0)
SPLITS = ((12, 0), (9, 3), (2, 10))


class Full(torch.autograd.Function):
    """The identity, whose backward pass has no memory."""

    @staticmethod
    def forward(context: Any, outputs: Tensor) -> Tensor:
        del context
        return outputs.clone()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        del context, gradients
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 MiB")


class Small(Rows):
    """Rows of 8 to 64 tokens in float64, on a device that has memory for `room` padded tokens."""

    def __init__(self, *, room: int = 10**9, where: str = "forward", **options: Any) -> None:
        sizes = {"rows": ROWS, "shortest": 8, "longest": 64, "width": 8, "inner": 16, "vocabulary": 16, "c": 50}
        super().__init__(Rows.Options(**{**sizes, **options}, double=True))
        self.room, self.where = room, where
        self.passes: list[tuple[int, ...]] = []  # shapes of the training's

    def model(self) -> Any:
        torch.manual_seed(0)
        return super().model()

    def test_data(self) -> Any:
        return self.train_data()[:7]

    def forward(self, model: Any, batch: dict[str, Tensor]) -> Tensor:
        tokens = batch["tokens"]
        if torch.is_grad_enabled():
            self.passes.append(tuple(tokens.shape))
        outputs = super().forward(model, batch)
        if tokens.numel() > self.room:
            if self.where == "backward":
                return Full.apply(outputs)  # type: ignore[no-any-return, no-untyped-call]
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 MiB")
        return outputs


def steps_of_splits(rank: int, world_size: int, given: dict[str, Any]) -> list[dict[str, Any]]:
    """Of each run: ids, losses, the first step's gradients, the last parameters, the shapes of its passes."""
    runs = []
    for shares, accumulate, by_work in given["runs"]:
        options = dataclasses.replace(OPTIONS, accumulate=accumulate)
        task = Small(by_work=by_work)
        job = make_job(rank, world_size, options, shares, double=False, task=task)
        found: dict[str, Any] = {"ids": [], "loss": [], "work": []}
        while job.step < job.steps_total:
            found["ids"].append(job.batches.ids(job.step, job.shares, rank).tolist())
            train_step(job, job.batches.place(job.step))
            row = job.window.rows[-1]
            found["loss"].append(row.loss_sum)
            found["work"].append((row.batch, row.share, row.work))
            found.setdefault("gradient", [p.grad.clone().numpy() for p in job.model.parameters() if p.grad is not None])
        found["parameters"] = [p.detach().numpy() for p in job.model.parameters()]
        found["passes"] = task.passes
        runs.append(found)
    return runs


def alone(steps: int) -> Iterator[tuple[list[int], float, list[Tensor]]]:
    """Written out for one process, row by row, so that nothing is padded: ids, mean loss and gradient of each step."""
    task = Small()
    model, rows, lengths = task.model(), task.train_data(), task.lengths()
    optimizer = torch.optim.SGD(model.parameters(), lr=OPTIONS.learning_rate, momentum=OPTIONS.momentum)
    batches = BatchSampler(count=ROWS, global_batch=BATCH, seed=0)
    for step in range(steps):
        ids = batches.ids(step, (BATCH,), 0).tolist()
        optimizer.param_groups[0]["lr"] = OPTIONS.learning_rate * rate_factor(OPTIONS, step, steps)
        optimizer.zero_grad()
        counted, total = 0, torch.zeros((), dtype=torch.float64)
        for number in ids:
            row = task.collate([rows[number]])
            assert row["tokens"].shape == (1, int(lengths[number]))
            total = total + task.loss(model(row["tokens"]), row).sum()
            counted += task.count(row)
        torch.autograd.backward(total / counted)
        yield ids, float(total.detach()) / counted, [p.grad.clone() for p in model.parameters() if p.grad is not None]
        optimizer.step()


def relative(found: list[Any], expected: list[Tensor]) -> float:
    ours = torch.cat([torch.as_tensor(f).flatten() for f in found])
    theirs = torch.cat([e.flatten() for e in expected])
    return float((ours - theirs).norm() / theirs.norm())


RUNS = [(split, accumulate, True) for split in SPLITS for accumulate in (1, 3)] + [((9, 3), 2, False)]


@pytest.fixture(scope="module")
def ranks() -> list[list[dict[str, Any]]]:
    return run_ranks(2, steps_of_splits, {"runs": RUNS})


@pytest.mark.parametrize("run", range(len(RUNS)), ids=map(str, RUNS))
def test_what_is_learned_is_what_one_process_learns_at_any_split(ranks: list[list[dict[str, Any]]], run: int) -> None:
    expected = list(alone(4))
    first, second = (rank[run] for rank in ranks)
    sizes = [12, 12, 12, 4]
    for step, (ids, loss, gradient) in enumerate(expected):
        assert sorted(first["ids"][step] + second["ids"][step]) == sorted(ids)
        assert (first["loss"][step] + second["loss"][step]) / sizes[step] == pytest.approx(loss, rel=1e-9)
        if step == 0:
            assert relative(first["gradient"], gradient) < 1e-12
            assert relative(second["gradient"], gradient) < 1e-12
    for ours, theirs in zip(first["parameters"], second["parameters"], strict=True):
        assert relative([ours], [torch.as_tensor(theirs)]) < 1e-12


def test_shares_are_proportions_of_work_and_a_step_is_told_in_rows(ranks: list[list[dict[str, Any]]]) -> None:
    run = RUNS.index(((9, 3), 1, True))
    for step, size in enumerate((12, 12, 12, 4)):
        (rows, share, work), (other_rows, other_share, other_work) = (rank[run]["work"][step] for rank in ranks)
        assert rows + other_rows == size
        assert (share, other_share) == ((9, 3) if size == 12 else (3, 1))
        if size == 12:
            assert work / (work + other_work) == pytest.approx(0.75, abs=0.06)
    by_rows = RUNS.index(((9, 3), 2, False))
    assert [rows for rows, *_ in ranks[0][by_rows]["work"]] == [9, 9, 9, 3]
    assert ranks[0][run]["work"][0][0] != 9  # by work other rows than by their number


def test_parts_are_cut_by_length_and_lose_their_padding(ranks: list[list[dict[str, Any]]]) -> None:
    run = RUNS.index(((12, 0), 3, True))
    of_step = ranks[0][run]["passes"][:3]
    assert [rows for rows, _ in of_step] == sorted(rows for rows, _ in of_step)  # long ones first, few of them
    assert len({length for _, length in of_step}) == 3
    padded = max(rows * length for rows, length in of_step)
    assert padded < 12 * of_step[0][1] / 2  # three equal parts of all, padded to the longest, take a third of this
    assert all(rows == 1 for rows, _ in ranks[1][run]["passes"])  # it has no share: a borrowed row, the shortest


def narrow(rank: int, world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    task = Small(room=given["rooms"][rank], where=given["where"])
    job = make_job(rank, world_size, OPTIONS, (7, 5), double=False, task=task)
    job.passes.limit = given["limit"]
    losses = []
    while job.step < job.steps_total:
        train_step(job, job.batches.place(job.step))
        losses.append(job.window.rows[-1].loss_sum)
    recorder: Any = job.recorder
    return {
        "losses": losses, "passes": task.passes, "limit": job.passes.limit,
        "told": [one for one in recorder.told if one[0] == "ran_out_of_memory"],
        "busy": [row.busy_ms for row in job.window.rows],
        "eval": job.passes.most_samples(256, job.data.longest),
    }  # fmt: skip


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_memory_that_runs_out_halves_the_padded_tokens_of_a_pass(where: str) -> None:
    first, second = run_ranks(2, narrow, {"rooms": (10**9, 100), "where": where, "limit": None})
    expected = [loss for _, loss, _ in alone(4)]
    found = [(a + b) / size for a, b, size in zip(first["losses"], second["losses"], (12, 12, 12, 4), strict=True)]
    assert found == pytest.approx(expected, rel=1e-9)
    (_, before, after) = second["told"][0]
    assert (first["told"], second["told"][1:]) == ([], [])
    assert after <= 100 < before
    assert second["limit"] == after
    assert second["busy"][0] != second["busy"][0]  # not a number: a step done twice says nothing of the next
    big = [shape for shape in second["passes"] if shape[0] * shape[1] > max(after, 64)]
    assert len(big) <= len(second["told"]) + 2  # those that were tried
    assert 1 <= second["eval"] <= 100 // 8


def too_long(rank: int, world_size: int, _given: dict[str, Any]) -> str:
    job = make_job(rank, world_size, OPTIONS, (12,), double=False, task=Small(room=40))
    with pytest.raises(OutOfMemory) as caught:
        train_step(job, job.batches.place(0))
    return str(caught.value)


def test_a_row_that_does_not_fit_by_itself_is_told_with_its_length() -> None:
    (text,) = run_ranks(1, too_long, {})
    lengths = Small().lengths()[BatchSampler(count=ROWS, global_batch=BATCH, seed=0).ids(0, (12,), 0)]
    assert f"cpu: one sample of length {int(lengths.max())} does not fit into its memory (CUDA out of memory.)" in text
    assert "Cut long samples shorter" in text


def whole_loop(rank: int, world_size: int, _given: dict[str, Any]) -> tuple[str | None, int]:
    options = dataclasses.replace(OPTIONS, steps=None, epochs=2, eval_every=1, accumulate=2)
    job = make_job(rank, world_size, options, (8, 4), double=False, task=Small(room=120))
    told: Any = job.recorder
    ended = train(job)
    return ended, len([one for one in told.told if one[0] == "evaluated"])


def test_the_loop_goes_on_to_its_end_and_evaluates() -> None:
    assert run_ranks(2, whole_loop, {}) == [("finished", 2), ("finished", 0)]

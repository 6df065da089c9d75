"""`run.compile` on real ranks: nothing is compiled anew for another share, and nothing differs in what is learned."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from motley.trainer.contract.spec import RunOptions
from motley.trainer.data.task_data import TaskData
from motley.trainer.optimize import compilation
from motley.trainer.optimize.compilation import Compilation
from motley.trainer.rank import compile_ahead as ahead_of
from motley.trainer.rank.compile_ahead import compile_ahead
from motley.trainer.training.epoch_end import evaluate
from motley.trainer.training.loop import train_step
from tests.trainer.noise_task import NoiseTask
from tests.trainer.ranks import make_job, run_ranks

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # torch's own

BATCH, STEPS = 24, 5
SHARES = ((24, 0), (23, 1), (9, 15), (14, 10), (2, 22))  # one after the other, as a balancer would


class Blocks(NoiseTask):
    name = "blocks/noise"

    def model(self) -> nn.Module:
        torch.manual_seed(3)
        blocks = [nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.Tanh()) for _ in range(2)]
        return nn.Sequential(*blocks, nn.Linear(6, 4)).double()


class Elsewhere(Blocks):
    """Its forward goes through the parts of the model."""

    def forward(self, model: nn.Module, batch: Any) -> Tensor:
        outputs: Tensor = batch[0]
        for part in model.children():
            outputs = part(outputs)
        return outputs


def trained(rank: int, world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    """Each step with another share, without and with compiled code; how often torch has compiled."""
    from torch._dynamo.utils import counters

    compilation.BACKEND = given["backend"]
    found: dict[str, Any] = {}
    for name, chosen in given["options"].items():
        options = RunOptions(global_batch=BATCH, steps=STEPS, **chosen)
        job = make_job(rank, world_size, options, SHARES[0], double=False, task=Blocks())
        compiled = []
        for shares in SHARES:
            job.shares = shares
            train_step(job, job.batches.place(job.step))
            compiled.append(counters["stats"]["unique_graphs"])
        weights = [p.detach().numpy() for p in job.task_model.parameters()]
        found[name] = (weights, compiled, list(job.task_model.state_dict()), evaluate(job).loss)
    return found


OPTIONS = {
    "plain": {},
    "whole": {"compile": True},
    "blocks": {"compile": True, "activation_checkpointing": True},
}


def check(backend: str, options: dict[str, dict[str, bool]]) -> None:
    for rank in run_ranks(2, trained, {"backend": backend, "options": options}):
        weights, before, names, loss = rank["plain"]
        assert before == [0] * STEPS
        for name in list(options)[1:]:
            found, compiled, same_names, evaluated = rank[name]
            assert same_names == names
            assert compiled[-1] > 0
            assert len({count for count in compiled if count > before[-1]}) == 1, (name, compiled)  # at once, or never
            for ours, theirs in zip(found, weights, strict=True):
                assert torch.allclose(torch.as_tensor(ours), torch.as_tensor(theirs), rtol=1e-9, atol=1e-12), name
            assert evaluated == pytest.approx(loss, rel=1e-9)
            before = compiled


@pytest.mark.ranks
@pytest.mark.longest
def test_another_share_compiles_nothing_and_learns_the_same() -> None:
    """As far as tracing and autograd go: torch's own code is run, so no compiler is needed."""
    check("aot_eager", OPTIONS)


def ahead(task: NoiseTask, model: nn.Module) -> tuple[Compilation, list[str]]:
    found, said = Compilation([model]), list[str]()
    compile_ahead(found, RunOptions(compile=True), task, TaskData.of(task, seed=0), model, said.append)
    return found, said


def test_it_is_compiled_before_the_first_step_and_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "BACKEND", "aot_eager")
    model = Blocks().model()
    before, random = [p.detach().clone() for p in model.parameters()], torch.get_rng_state()
    found, said = ahead(Blocks(), model)
    assert found.calls == 2
    assert said[0].startswith("the model is compiled, in ")
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None and torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_a_host_that_cannot_compile_says_so_and_computes_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("No working C++ compiler found\nin any of these")

    monkeypatch.setattr(compilation, "BACKEND", broken)
    model = Blocks().model()
    expected = model(torch.ones(4, 6).double())
    found, said = ahead(Blocks(), model)
    assert said == [
        "run.compile does not work here, so it computes without: RuntimeError: No working C++ compiler found"
    ]
    assert found.calls == 0
    assert torch.equal(model(torch.ones(4, 6).double()), expected)


def test_a_task_that_never_calls_its_model_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "BACKEND", "aot_eager")
    _, said = ahead(Elsewhere(), Blocks().model())
    assert said == ["run.compile does nothing: the task's forward never calls the model itself"]


class Full(Blocks):
    """As on a device that has room for a few samples alone."""

    def forward(self, model: nn.Module, batch: Any) -> Tensor:
        if len(batch[0]) >= 16:
            raise torch.OutOfMemoryError("tried to allocate 2 GiB")
        outputs: Tensor = model(batch[0])
        return outputs


def test_what_is_no_fault_of_the_compiler_is_said_and_does_not_give_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "BACKEND", "aot_eager")
    found, said = ahead(Full(), Blocks().model())
    assert said == [
        "run.compile: not all was compiled ahead, and is in the first steps: a pass over 24 samples failed with "
        "OutOfMemoryError: tried to allocate 2 GiB"
    ]
    assert (found.why_not, found.calls) == ("", 1)


def test_all_that_the_ranks_may_agree_to_compute_in_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.utils import counters

    monkeypatch.setattr(compilation, "BACKEND", "aot_eager")
    monkeypatch.setattr(ahead_of, "abilities", lambda _device: (2, 1))
    task, said = Blocks(), list[str]()
    model = task.model()
    options = RunOptions(compile=True, precision="auto")
    compile_ahead(Compilation([model]), options, task, TaskData.of(task, seed=0), model, said.append, ranks=2)
    assert said[0].startswith("the model is compiled for bf16 and fp32, in ")  # its own first
    before = counters["stats"]["unique_graphs"]
    inputs = torch.randn(20, 6, dtype=torch.float64)
    model(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        model(inputs)
    assert counters["stats"]["unique_graphs"] == before


@pytest.mark.ranks
@pytest.mark.longest
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="there is no C++ compiler")
def test_with_the_compiler_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    model, plain = Blocks().model(), Blocks().model()
    found, said = ahead(Blocks(), model)
    assert (found.calls, found.why_not) == (2, ""), said
    inputs = torch.randn(7, 6, dtype=torch.float64)
    for each in (model, plain):
        torch.autograd.backward(each(inputs).square().sum())
    assert found.calls == 3
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-9, atol=1e-12)


def convolutions(rank: int, world_size: int, _given: dict[str, Any]) -> list[int]:
    """How often torch has compiled: ahead, then after each step."""
    from torch._dynamo.utils import counters

    compilation.BACKEND = "aot_eager"
    options = RunOptions(task="simple_cnn/digits", global_batch=64, steps=9)
    job = make_job(rank, world_size, options, (64, 0), double=False)
    compile_ahead(Compilation([job.task_model]), options, job.task, job.data, job.task_model, print)
    counts = [counters["stats"]["unique_graphs"]]
    for shares in ((32, 32), (9, 55), (60, 4)):
        job.shares = shares
        train_step(job, job.batches.place(job.step))
        counts.append(counters["stats"]["unique_graphs"])
    return counts


@pytest.mark.long
@pytest.mark.ranks
def test_no_step_compiles_what_was_compiled_ahead() -> None:
    for counts in run_ranks(2, convolutions, {}):
        assert len(set(counts)) == 1, counts

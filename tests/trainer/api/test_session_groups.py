"""A loop of the user's own on real ranks: exact at any split, through losses and joins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from motley.trainer.training.sampler import BatchSampler
from tests.support.ports import free_pair
from tests.trainer.api.sessions import BOUND_S, as_script, running
from tests.trainer.coordinating import events, summary
from tests.trainer.ranks import with_torch

pytestmark = pytest.mark.ranks

STEPS, BATCH = 12, 24
LOOP = """
import json, os, sys
import torch
from torch import nn
from torch.nn import functional
import motley

torch.manual_seed(3)
data = torch.randn(64, 6).double()
labels = (data.sum(1) > 0).long()
run = motley.session()
torch.manual_seed(5 + run.rank)  # the models are rank 0's all the same
model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2)).double()
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
schedule = torch.optim.lr_scheduler.StepLR(optimizer, 4)
model, optimizer, schedule = run.prepare(model, optimizer, schedule)
attempts = []
for step in run.steps((data, labels), global_batch=24, steps=12):
    with step:
        print("step", step.number, flush=True)
        BODY
        optimizer.step()
        run.log(loss=step.number)
    attempts.append((step.number, step.done))
    if step.done:
        schedule.step()
    AFTER
print(json.dumps({
    "weights": [p.tolist() for p in model.parameters()], "attempts": attempts,
    "rate": optimizer.param_groups[0]["lr"], "world": run.world_size,
}))
"""
WHOLE = """x, y = step.batch
        step.backward(functional.cross_entropy(model(x), y, reduction="sum"))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)"""
MEAN = """x, y = step.batch
        step.backward(functional.cross_entropy(model(x), y), mean=True)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)"""
PARTS = """for x, y in step.parts(rows=5):
            step.backward(functional.cross_entropy(model(x), y, reduction="sum"))
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)"""
# Member 1 is killed in step 4, and comes again; the other one waits for it in step 6.
COMES_BACK = f"""if step.number == 4 and os.environ["MOTLEY_MEMBER"] == "1":
            print("waits", flush=True)
            import time; time.sleep(600)
        if step.number == 6 and run.rank == 0:  # until the other one has asked to be let in
            import time
            while run.world_size == 1 and not run._peers._me.client.boundary:
                time.sleep(0.01)
        {WHOLE}"""


def loop(body: str = WHOLE, after: str = "") -> str:
    return LOOP.replace("BODY", body).replace("AFTER", after)


def alone(seed: int = 5) -> tuple[list[torch.Tensor], float]:
    """The same training written out for one process."""
    torch.manual_seed(3)
    data = torch.randn(64, 6).double()
    labels = (data.sum(1) > 0).long()
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2)).double()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 4)
    batches = BatchSampler(count=64, global_batch=BATCH, seed=0)
    for step in range(STEPS):
        ids = batches.ids(step, (1,), 0)
        optimizer.zero_grad()
        torch.autograd.backward(functional.cross_entropy(model(data[ids]), labels[ids]))
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return [p.detach() for p in model.parameters()], float(optimizer.param_groups[0]["lr"])


def same(found: list[list[float]], expected: list[torch.Tensor]) -> bool:
    return all(torch.allclose(torch.tensor(a).double(), b, rtol=1e-6, atol=1e-9) for a, b in zip(found, expected))


@pytest.mark.parametrize(("shares", "body"), [((24, 0), WHOLE), ((23, 1), MEAN), ((9, 15), PARTS), ((0, 24), PARTS)])
async def test_weights_are_those_of_one_process_at_any_split(
    tmp_path: Path, shares: tuple[int, ...], body: str
) -> None:
    async with running(tmp_path, loop(body), members=2, shares=shares) as run:
        assert await run.codes() == [0, 0], run.errors()
    weights, rate = alone()
    for member in range(2):
        told = run.told(member)
        assert same(told["weights"], weights)
        assert told["rate"] == pytest.approx(rate)
        assert told["attempts"] == [[number, True] for number in range(1, STEPS + 1)]
    table = summary(run.home(0))
    assert (table["state"], table["steps"]) == ("finished", STEPS)


def test_under_torchrun_and_as_plain_python_it_learns_the_same(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(loop(PARTS))
    torchrun = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_pair()), "WORLD_SIZE": "2"}
    processes = []
    for name, environment in (
        ("rank0", {**torchrun, "RANK": "0"}),
        ("rank1", {**torchrun, "RANK": "1"}),
        ("plain", {}),
    ):
        (tmp_path / name).mkdir()
        arguments = (tmp_path / "train.py", environment, tmp_path / name)
        processes.append(with_torch().Process(target=as_script, args=arguments, daemon=True))
        processes[-1].start()
    for process in processes:
        process.join(BOUND_S)
    for name in ("rank0", "rank1", "plain"):
        told = json.loads((tmp_path / name / "out").read_text().splitlines()[-1])
        assert same(told["weights"], alone()[0]), name


async def test_a_rank_that_is_killed_in_a_step_costs_no_step(tmp_path: Path) -> None:
    body = f"""if step.number == 6 and os.environ["MOTLEY_MEMBER"] == "1":
            print("waits", flush=True)
            import time; time.sleep(600)
        {WHOLE}"""
    async with running(tmp_path, loop(body), members=3, shares=(8, 8, 8)) as run:
        await run.line(1, "waits")
        run.kill(1)
        assert await run.codes() == [0, -9, 0], run.errors()
    weights, rate = alone()
    for member in (0, 2):
        told = run.told(member)
        assert told["attempts"] == [[n, True] for n in range(1, 6)] + [[6, False]] + [[n, True] for n in range(6, 13)]
        assert same(told["weights"], weights)
        assert (told["rate"], told["world"]) == (pytest.approx(rate), 2)
    assert len(events(run.home(0), "group")) == 2
    assert summary(run.home(0))["steps"] == STEPS


async def test_one_that_comes_back_gets_all_that_was_prepared_and_the_number_of_the_step(tmp_path: Path) -> None:
    async with running(tmp_path, loop(COMES_BACK), members=2) as run:
        await run.line(1, "waits")
        run.kill(1)
        await run.line(0, "step 6")
        run.ranks[1].join()
        run.start(1, anew=True)
        assert await run.codes() == [0, 0], run.errors()
    weights, rate = alone()
    for member in range(2):
        told = run.told(member)
        assert same(told["weights"], weights)
        assert (told["rate"], told["world"]) == (pytest.approx(rate), 2)
    first, last = run.told(1)["attempts"][0], run.told(1)["attempts"][-1]
    assert first[0] > 6
    assert last == [STEPS, True]


EVALUATION = """if step.done and step.number == 6:
        total = count = 0
        for numbers, in run.batches((torch.arange(64),), batch=4):
            if os.environ["MOTLEY_MEMBER"] == "1" and count == 8:
                print("evaluates", flush=True)
                import time; time.sleep(600)
            total += int(numbers.sum())
            count += len(numbers)
        mean = run.mean(total, count)
        if run.rank == 0:
            print("mean", mean, run.mean(count, 1) * run.world_size, flush=True)
        else:
            run.mean(count, 1)"""


async def test_an_evaluation_is_exact_when_a_rank_is_killed_in_the_middle_of_it(tmp_path: Path) -> None:
    async with running(tmp_path, loop(WHOLE, EVALUATION), members=3) as run:
        await run.line(1, "evaluates")
        run.kill(1)
        assert await run.codes() == [0, -9, 0], run.errors()
    assert run.said(0, "mean") == [f"mean {sum(range(64)) / 64} 64.0"]
    assert all(same(run.told(member)["weights"], alone()[0]) for member in (0, 2))


async def test_a_run_goes_on_from_a_checkpoint_on_another_number_of_ranks(tmp_path: Path) -> None:
    first = loop().replace("steps=12", "steps=6")
    async with running(tmp_path / "first", first, members=2) as run:
        assert await run.codes() == [0, 0], run.errors()
    resume = str(run.home(0) / "checkpoints")
    async with running(tmp_path / "second", loop(PARTS), members=3, resume=resume) as run:
        assert await run.codes() == [0, 0, 0], run.errors()
    weights, rate = alone()
    for member in range(3):
        told = run.told(member)
        assert told["attempts"] == [[number, True] for number in range(7, STEPS + 1)]
        assert same(told["weights"], weights)
        assert told["rate"] == pytest.approx(rate)


async def test_the_first_rank_that_leaves_ends_the_loop_of_all_at_that_step(tmp_path: Path) -> None:
    after = """if step.number == 5 and os.environ["MOTLEY_MEMBER"] == "1":
        break"""
    async with running(tmp_path, loop(WHOLE, after), members=2) as run:
        assert await run.codes() == [0, 0], run.errors()
    assert run.told(1)["attempts"] == [[number, True] for number in range(1, 6)]
    assert run.told(0)["attempts"] == [*run.told(1)["attempts"], [6, False]]
    assert run.told(0)["weights"] == run.told(1)["weights"]
    table = summary(run.home(0))
    assert (table["state"], table["steps"]) == ("finished", 5)


async def test_an_error_of_the_script_is_a_failed_run_that_names_its_line(tmp_path: Path) -> None:
    body = f"""if step.number == 3 and run.rank == 1:
            raise ValueError("no such picture")
        {WHOLE}"""
    async with running(tmp_path, loop(body), members=2) as run:
        codes = await run.codes()
        assert codes[1] == 1
        assert codes[0] != 0
    line = next(n for n, text in enumerate(run.script.read_text().splitlines(), 1) if "no such picture" in text)
    (fault,) = events(run.home(1), "fault")
    assert fault["data"]["error"] == f"train.py:{line}: ValueError: no such picture"
    assert summary(run.home(0))["state"] == "failed"

"""A real rank joins two that train, and one of the two is taken out: what is learned is what one machine learns."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from motley.trainer.contract.spec import Member, RunOptions, Spec
from motley.trainer.contract.term import FIRST
from motley.trainer.host.exit_codes import Exit
from motley.trainer.host.run_members import admit, drop, keep, roll_of
from motley.trainer.training.sampler import BatchSampler
from tests.trainer.coordinating import coordinating, events, spec, summary
from tests.trainer.noise_task import NoiseTask
from tests.trainer.ranks import with_torch
from tests.trainer.written_out import WrittenOut

pytestmark = pytest.mark.ranks

STEPS, BATCH, BOUND_S = 25, 24, 90.0
LET_IN_AT, TAKEN_OUT_AT = 4, 13  # steps before which rank 0 waits for it
NEW = Member(member=0, host="box2", local_rank=0, device="cpu")
OPTIONS: dict[str, Any] = {
    "steps": STEPS, "global_batch": BATCH, "eval_every": 0, "checkpoint_every": 0, "ema": 0.8, "precision": "fp16",
    "warmup_steps": 9,
}  # fmt: skip


class Noise(NoiseTask):
    """A task in float64 whose model knows nothing of how a batch is split."""

    name = "mlp/noise"

    def model(self) -> nn.Module:
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4)).double()


def alone() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The same steps in one process: weights, and their average."""
    from motley.trainer.optimize.optimizer import make_optimizer, rate_factor

    options, task = RunOptions(**OPTIONS), WrittenOut(Noise())
    model = task.model()
    optimizer = make_optimizer(options, model)
    average = {name: weight.clone() for name, weight in model.state_dict().items()}
    batches = BatchSampler(count=task.train_size, global_batch=BATCH, seed=options.seed)
    for step in range(STEPS):
        inputs, targets = task.train_batch(batches.ids(step, (BATCH,), 0), batches.place(step).epoch)
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * rate_factor(options, step, STEPS)
        optimizer.zero_grad()
        torch.autograd.backward(task.loss_sum(model(inputs), targets) / len(targets))
        optimizer.step()
        for name, weight in model.state_dict().items():
            average[name].lerp_(weight, 1 - 0.8)
    return model.state_dict(), average


def process(text: str, number: int, folder: Path, anew: bool, answer: Connection) -> None:
    """The process of a rank; rank 0 waits for what the test is about."""
    from motley.trainer import tasks
    from motley.trainer.rank import job_setup, task_rank
    from motley.trainer.training import loop

    tasks.load = lambda *_, **__: Noise()
    kept: dict[str, Any] = {}

    def prepare(*arguments: Any, **named: Any) -> Any:
        kept["prepared"] = prepared(*arguments, **named)
        return kept["prepared"]

    def train_step(job: Any, place: Any) -> None:
        if job.member == 0 and job.step == LET_IN_AT:
            wait(lambda: job.progress.boundary or job.generation > 0)
        if job.member == 0 and job.step == TAKEN_OUT_AT:
            (folder / "at_work").touch()  # the others wait for it in an all-reduce: the group is whole
            wait(lambda: bool(events(folder, "lost")))
        step(job, place)

    def wait(condition: Any) -> None:
        deadline = time.monotonic() + BOUND_S
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)

    prepared, job_setup.prepare = job_setup.prepare, prepare
    step, loop.train_step = loop.train_step, train_step
    given = Spec.from_json(text)
    mine = next(m for m in given.members if m.member == number)
    code = task_rank.TaskRank(given, mine, folder, anew=anew).main()
    held = kept["prepared"]
    torch.save((int(code), held.model.state_dict(), held.ema.state(), held.scaler.state()), folder / f"{number}.end")
    answer.send(True)
    os._exit(0)


async def until(condition: Callable[[], object], folder: Path, what: str) -> None:
    deadline = asyncio.get_running_loop().time() + BOUND_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"no {what}: {[e['text'] for e in events(folder, 'note')]}"
        await asyncio.sleep(0.02)


async def test_one_joins_another_is_taken_out_and_nothing_of_it_is_learned(tmp_path: Path) -> None:
    given = spec(2, lost_after_s=BOUND_S, **OPTIONS)
    elastic = dataclasses.replace(given.elastic, min_hosts=2)  # the other one waits for one that starts again
    given = dataclasses.replace(given, balance=dataclasses.replace(given.balance, policy="static"), elastic=elastic)
    roll = admit(given, roll_of(tmp_path), "box2", [NEW], term=FIRST)
    joining = dataclasses.replace(given, members=roll.members(given.members), joins=True)
    context = with_torch()

    def live(number: int) -> bool:
        """A rank's processes: one that hung in a broken group is followed by another. Whether it came to its end."""
        mine = dataclasses.replace(joining if number == 2 else given, host=f"box{number}")
        for anew in (number == 2, True, True):
            arguments = (mine.to_json(), number, tmp_path, anew, pipes[number][1])
            rank = context.Process(target=process, args=arguments, daemon=True)
            rank.start()
            rank.join(BOUND_S)
            if rank.exitcode != Exit.STUCK:
                return pipes[number][0].poll(0)
        return False

    pipes = [context.Pipe() for _ in range(3)]
    async with coordinating(given, tmp_path):
        keep(tmp_path, roll)
        await until(lambda: events(tmp_path, "admitted"), tmp_path, "admitted")
        lives = [asyncio.create_task(asyncio.to_thread(live, number)) for number in range(3)]
        await until((tmp_path / "at_work").exists, tmp_path, f"step {TAKEN_OUT_AT}")
        keep(tmp_path, drop(given, roll, "box1", term=FIRST, leader="box0"))
        answered = await asyncio.gather(*lives)
    assert all(answered), [event["text"] for event in events(tmp_path, "note")]
    groups = [[m["member"] for m in event["data"]["members"]] for event in events(tmp_path, "group")]
    assert [*groups[:2], groups[-1]] == [[0, 1], [0, 1, 2], [0, 2]]
    ends = {number: torch.load(tmp_path / f"{number}.end") for number in range(3)}
    assert {number: code for number, (code, *_) in ends.items()} == {0: 0, 1: int(Exit.STOPPED), 2: 0}
    expected, average = alone()
    for number in (0, 2):
        for name, tensor in expected.items():
            assert torch.allclose(ends[number][1][name], tensor, rtol=1e-9, atol=1e-12), (number, name)
            assert torch.allclose(ends[number][2][name], average[name], rtol=1e-9, atol=1e-12), (number, name)
        assert ends[number][3] == {"scale": 65536.0, "good_steps": STEPS}
    assert [e["data"]["precision"] for e in events(tmp_path, "precision")] == ["fp16"]  # once: it stays
    table = summary(tmp_path)
    assert (table["state"], table["steps"], table["samples"]) == ("finished", STEPS, STEPS * BATCH)
    asked = [record for record in table["regroups"] if record["cause"] != "lost"]  # a rank that hung comes back later
    assert [(r["cause"], r["host"], r["step_before"] - r["step_after"]) for r in asked[:2]] == [
        ("joined", "box2", 0), ("dropped", "box1", 0),
    ]  # fmt: skip
    assert {h["name"]: h["state"] for h in table["hosts"]} == {
        "box0": "finished", "box1": "dropped", "box2": "finished",
    }  # fmt: skip
    assert [h["share"] for h in table["hosts"]] == [0.5, 0.0, 0.5]

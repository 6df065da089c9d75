"""Checkpoints within an epoch of a loop of the user's own, on real ranks: by steps, and because somebody asks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from motley.trainer.host.checkpoint_request import ask, asked
from tests.trainer.api.sessions import running
from tests.trainer.coordinating import events
from tests.trainer.health.test_gradient_fingerprint import fingerprints

pytestmark = pytest.mark.ranks

LOOP = """
import time
import torch
import motley

run = motley.session()
model = torch.nn.Linear(6, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
run.prepare(model, optimizer, schedule)
for step in run.steps((torch.randn(64, 6, generator=torch.Generator().manual_seed(1)),), global_batch=16, steps=6):
    with step:
        print("step", step.number, flush=True)
        if step.number == 2 and run.rank == 0:
            while not run._peers._me.client.asked:
                time.sleep(0.01)
        (x,) = step.batch
        step.backward(model(x).sum())
        optimizer.step()
    if step.done:
        schedule.step()
"""


async def test_one_that_is_asked_for_is_written_between_two_steps_and_answers_the_request(tmp_path: Path) -> None:
    async with running(tmp_path, LOOP, members=2, checkpoint_steps=3) as run:
        await run.line(0, "step 2")
        ask(run.home(0), "8f2b")
        assert await run.codes() == [0, 0], run.errors()
    found = events(run.home(0), "checkpoint")
    told = [(one["data"]["path"], one["data"].get("why"), one["data"].get("asked")) for one in found]
    assert told == [
        ("checkpoints/step_2.pt", "asked", ["8f2b"]),
        ("checkpoints/step_3.pt", "steps", None),
        ("checkpoints/epoch_1.pt", None, None),
        ("checkpoints/final.pt", None, None),
    ]
    assert asked(run.home(0)) == ()
    state = torch.load(run.home(0) / "checkpoints" / "step_2.pt", weights_only=True)
    assert state["step"] == 2
    assert state["optimizer"]["param_groups"][0]["lr"] == pytest.approx(0.01 * 0.1**2)  # after the lines of the user's


EXACT = """
import torch
import motley

torch.set_default_dtype(torch.float64)
torch.manual_seed(3)
run = motley.session()
model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
scaler = torch.amp.GradScaler("cpu", init_scale=SCALE, enabled=SCALE > 1)
run.prepare(model, optimizer, scaler)
for step in run.steps((torch.randn(64, 6, generator=torch.Generator().manual_seed(1)),), global_batch=16, steps=6):
    with step:
        (x,) = step.batch
        step.backward(scaler.scale(model(x).square().sum()))
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
        scaler.step(optimizer)
        scaler.update()
"""


async def test_the_step_after_one_records_the_fingerprint_of_its_gradient_at_any_split(tmp_path: Path) -> None:
    """With a scaler it is that of the gradient without its factor; never of the clipped one."""
    found = {}
    for name, shares, scale in (
        ("one", (16,), 1),
        ("two", (13, 3), 1),
        ("three", (9, 7, 0), 1),
        ("scaled", (13, 3), 512),
    ):
        script = EXACT.replace("SCALE", str(scale))
        async with running(tmp_path / name, script, members=len(shares), shares=shares, checkpoint_steps=2) as run:
            assert set(await run.codes()) == {0}, run.errors()
        found[name] = fingerprints(run.home(0))
    assert sorted(found["one"]) == [1, 3, 5]
    for name in ("two", "three", "scaled"):
        assert sorted(found[name]) == [1, 3, 5]
        for step, values in found[name].items():
            assert values == pytest.approx(found["one"][step], rel=0, abs=1e-9)

"""Checkpoints within an epoch of a loop of the user's own, on real ranks: by steps, and because somebody asks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from motley.trainer.host.checkpoint_request import ask, asked
from tests.trainer.api.sessions import running
from tests.trainer.coordinating import events

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

"""A loss that is not a number in a loop of the user's own, on real ranks: told at once, and the run ends or goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainer.api.sessions import running
from tests.trainer.coordinating import events, summary

pytestmark = pytest.mark.ranks

LOOP = """
import os
import torch
import motley

run = motley.session()
model = torch.nn.Linear(6, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
run.prepare(model, optimizer)
for step in run.steps((torch.randn(64, 6, generator=torch.Generator().manual_seed(1)),), global_batch=16, steps=10):
    with step:
        print("step", step.number, flush=True)
        (x,) = step.batch
        bad = os.environ["MOTLEY_MEMBER"] == "0" and step.number == 6
        step.backward(model(x).sum() * (float("nan") if bad else 1.0))
        optimizer.step()
"""


async def test_the_run_ends_at_once_with_the_command_that_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path, LOOP, members=2) as run:
        codes = await run.codes()
        assert codes[0] == 1, run.errors()
        assert codes[1] != 0
    (event,) = events(run.home(0), "diverged")
    cause = "the loss of step 6 is not a number (rank 0)"
    remedy = "motley run --resume night@epoch_1 goes on from step 4 once your optimizer's rate is lower"
    told = event["data"]
    assert (told["step"], told["member"], told["why"], told["stops"]) == (6, 0, "not a number", True)
    assert (told["cause"], told["remedy"], told["command"]) == (cause, remedy, "motley run --resume night@epoch_1")
    assert event["level"] == "error"
    assert run.lines(0, "err")[-1].endswith(f"{cause}. {remedy}")  # torch puts the rank before it
    assert not run.said(0, "step 7")
    table = summary(run.home(0))
    assert (table["state"], table["cause"]) == ("failed", cause)
    assert sorted(path.name for path in (run.home(0) / "checkpoints").glob("*.pt")) == ["epoch_1.pt"]


async def test_a_run_that_is_to_go_on_does_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    async with running(tmp_path, LOOP, members=2, on_nan="go_on", keep_checkpoints=1) as run:
        assert await run.codes() == [0, 0], run.errors()
    (event,) = events(run.home(0), "diverged")
    assert (event["data"]["step"], event["data"]["stops"]) == (6, False)
    assert summary(run.home(0))["steps"] == 10
    assert sorted(path.name for path in (run.home(0) / "checkpoints").glob("*.pt")) == ["epoch_1.pt"]
    notes = [one["text"] for one in events(run.home(0), "note")]
    assert "checkpoint final.pt not written: the weights are not finite" in notes

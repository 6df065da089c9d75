"""A balancing policy of the user's own under a loop of the user's own, on real ranks."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.trainer.contract.policy_name import OwnPolicy
from motley.trainer.host.paths import project_folder
from tests.trainer.api.sessions import running
from tests.trainer.coordinating import events, summary

pytestmark = pytest.mark.ranks

LOOP = """
import json
import torch
import motley

run = motley.session()
model = torch.nn.Linear(6, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
run.prepare(model, optimizer)
sizes = []
for step in run.steps((torch.randn(64, 6, generator=torch.Generator().manual_seed(1)),), global_batch=16, steps=40):
    with step:
        (x,) = step.batch
        step.backward(model(x).sum())
        optimizer.step()
    sizes.append(len(step.ids))
print(json.dumps(sizes))
"""
MINE = OwnPolicy(tree="8f5a", file="mine.py")


def written(text: str) -> None:
    project_folder("8f5a").mkdir(parents=True)
    (project_folder("8f5a") / "mine.py").write_text(text)


async def test_its_shares_hold_on_all_ranks(tmp_path: Path) -> None:
    written("def shares(costs, global_batch, now):\n    return [global_batch - 3, 3]\n")
    async with running(tmp_path, LOOP, members=2, policy="mine.py", own_policy=MINE) as run:
        assert await run.codes() == [0, 0], run.errors()
    assert (run.told(0)[-1], run.told(1)[-1]) == (13, 3)
    assert (run.told(0)[0], run.told(1)[0]) == (8, 8)


async def test_one_that_can_not_be_loaded_is_told_before_the_first_step(tmp_path: Path) -> None:
    written("def split(costs, global_batch, now):\n    return now\n")
    async with running(tmp_path, LOOP, members=2, policy="mine.py", own_policy=MINE) as run:
        assert 0 not in await run.codes()
    said = "[balance] policy: mine.py has no function shares"
    faults = [event["data"]["error"] for member in range(2) for event in events(run.home(member), "fault")]
    assert faults
    assert set(faults) == {said}
    assert said in run.lines(0, "err")[-1] or said in run.lines(1, "err")[-1]
    assert summary(run.home(0))["state"] == "failed"

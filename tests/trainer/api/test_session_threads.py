"""How many threads a loop of the user's own computes with, on real ranks: tried in its first steps, or set by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainer.api.sessions import running
from tests.trainer.coordinating import events

pytestmark = pytest.mark.ranks

# What a step costs by what its host grants: more than it takes any machine.
LOOP = """
import json, os
import torch
from motley.trainer.host import rank_environment
from motley.trainer.rank import cpu_threads
import motley

for module in (cpu_threads, rank_environment):
    module.usable_cores = lambda: 2.0
os.environ["OMP_NUM_THREADS"] = "2"
torch.set_num_threads(BEFORE)
run = motley.session()
run._peers._instruments.budget.needs_ms = lambda: {1: 20_000.0, 2: 60_000.0, 3: 90_000.0}[torch.get_num_threads()]
model = torch.nn.Linear(6, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
run.prepare(model, optimizer)
counts = []
for step in run.steps((torch.randn(64, 6, generator=torch.Generator().manual_seed(1)),), global_batch=16, steps=20):
    with step:
        (x,) = step.batch
        step.backward(model(x).sum())
        optimizer.step()
    counts.append(torch.get_num_threads())
print(json.dumps(counts))
"""


async def test_the_number_that_costs_least_is_in_place_and_told_of_once(tmp_path: Path) -> None:
    async with running(tmp_path, LOOP.replace("BEFORE", "2"), members=2) as run:
        assert await run.codes() == [0, 0], run.errors()
    for member in range(2):
        counts = run.told(member)
        assert (counts[0], counts[-1], set(counts)) == (2, 1, {1, 2})
        (event,) = events(run.home(member), "threads")
        assert event["text"] == f"box{member} computes with 1 thread: 0 samples/s, with 2: 0"
        assert event["data"]["samples_per_s"] == {"1": 0.4, "2": 0.1}


async def test_what_the_script_has_set_holds(tmp_path: Path) -> None:
    async with running(tmp_path, LOOP.replace("BEFORE", "3"), members=1) as run:
        assert await run.codes() == [0], run.errors()
    assert set(run.told(0)) == {3}
    assert events(run.home(0), "threads") == []

"""A loop of the user's own in bfloat16, by torch.autocast, on real ranks: it learns what one process learns with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from motley.trainer.training.sampler import BatchSampler
from tests.trainer.api.sessions import running

pytestmark = pytest.mark.ranks

STEPS, BATCH = 12, 24
# A matrix product's result is rounded to bfloat16's 8 bits, and which samples are added up before depends on the split.
CLOSE = 0.01  # of the way that the weights went
LOOP = """
import json
import torch
from torch import nn
from torch.nn import functional
import motley

torch.manual_seed(3)
data = torch.randn(64, 6)
labels = (data.sum(1) > 0).long()
run = motley.session()
torch.manual_seed(5)
model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
model, optimizer = run.prepare(model, optimizer)
kinds = set()

def loss_of(x, y):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(x)
        kinds.add(str(found.dtype))
        return functional.cross_entropy(found, y, reduction="sum")

for step in run.steps((data, labels), global_batch=24, steps=12):
    with step:
        BODY
        optimizer.step()
kinds |= {str(p.grad.dtype) for p in model.parameters()}
print(json.dumps({"weights": [p.tolist() for p in model.parameters()], "kinds": sorted(kinds)}))
"""
WHOLE = "step.backward(loss_of(*step.batch))"
PARTS = """for x, y in step.parts(rows=5):
            step.backward(loss_of(x, y))"""


def alone(dtype: torch.dtype, *, wrongly: tuple[int, ...] = ()) -> list[torch.Tensor]:
    """The way that the weights of one process go. `wrongly`: as ranks with these shares, none of them weighted."""
    torch.manual_seed(3)
    data = torch.randn(64, 6)
    labels = (data.sum(1) > 0).long()
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2))
    began = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    batches = BatchSampler(count=64, global_batch=BATCH, seed=0)
    for step in range(STEPS):
        optimizer.zero_grad()
        ranks = wrongly or (1,)
        for rank in range(len(ranks)):
            ids = batches.ids(step, ranks, rank)
            with torch.autocast("cpu", dtype=dtype, enabled=dtype == torch.bfloat16):
                loss = functional.cross_entropy(model(data[ids]), labels[ids])
            torch.autograd.backward(loss / len(ranks))
        optimizer.step()
    return [p.detach() - start for p, start in zip(model.parameters(), began)]


def apart(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    """How far two ways end from each other, in parts of the first one's length."""
    flat, others = (torch.cat([tensor.flatten() for tensor in way]) for way in (one, other))
    return float((flat - others).norm() / flat.norm())


@pytest.mark.parametrize(("shares", "body"), [((23, 1), WHOLE), ((9, 15), PARTS), ((0, 24), WHOLE)])
async def test_bfloat16_learns_what_one_process_learns_with_it_at_any_split(
    tmp_path: Path, shares: tuple[int, ...], body: str
) -> None:
    async with running(tmp_path, LOOP.replace("BODY", body), members=2, shares=shares) as run:
        assert await run.codes() == [0, 0], run.errors()
    expected = alone(torch.bfloat16)
    torch.manual_seed(5)
    began = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2))
    ways = [
        [torch.tensor(p) - start.detach() for p, start in zip(run.told(member)["weights"], began.parameters())]
        for member in range(2)
    ]
    assert apart(ways[0], ways[1]) == 0.0  # the ranks have the same weights, bit by bit
    assert apart(expected, ways[0]) < CLOSE
    for member in range(2):
        told = run.told(member)["kinds"]
        assert told == ["torch.bfloat16", "torch.float32"]  # of outputs, and of the gradients that are averaged


def test_the_tolerance_tells_bfloat16_from_gradients_that_are_not_weighted() -> None:
    expected = alone(torch.bfloat16)
    assert apart(expected, alone(torch.bfloat16, wrongly=(23, 1))) > 10 * CLOSE
    assert apart(expected, alone(torch.float32)) > 0.0

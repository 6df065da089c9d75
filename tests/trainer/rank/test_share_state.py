"""The state of one rank comes whole to another, whatever its optimizer keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from motley.trainer.rank.share_state import share_state
from tests.trainer.ranks import run_ranks

pytestmark = pytest.mark.ranks


class Factored(torch.optim.Optimizer):
    """Keeps more than tensors of the parameter's shape: a row, a short dtype, plain values."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.1})

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert closure is None
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["row"] = p.grad.square().reshape(len(p), -1).mean(dim=1) + state.get("row", 0.0)
                state["short"] = p.grad.flatten()[:2].to(torch.bfloat16)
                state["count"] = state.get("count", 0) + 1
                state["kind"] = "factored"
                p.data.sub_(group["lr"] * p.grad)


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "factored": Factored,
    "adafactor": lambda parameters: torch.optim.Adafactor(parameters, lr=0.1),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.1, amsgrad=True),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
}


def shared(rank: int, _world_size: int, given: dict[str, Any]) -> dict[str, Any]:
    """Rank 1 has made two steps, rank 0 none, or one of its own; rank 0 takes the state over."""
    torch.manual_seed(rank)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = OPTIMIZERS[given["optimizer"]](model.parameters())
    for _ in range(2 if rank else given["own"]):
        model(torch.ones(5, 3) + rank).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    share_state(model, optimizer, 7 + rank, source=1, in_place=given["in_place"] and not rank).put()
    model(torch.ones(5, 3)).sum().backward()
    optimizer.step()  # goes on with it
    state = optimizer.state_dict()["state"]
    return {
        "weights": [p.detach().tolist() for p in model.parameters()],
        "state": {
            n: {name: value.tolist() if isinstance(value, Tensor) else value for name, value in entry.items()}
            for n, entry in state.items()
        },
    }


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_goes_on_with_the_state_that_came(optimizer: str) -> None:
    for own, in_place in ((0, True), (1, False)):
        mine, theirs = run_ranks(2, shared, {"optimizer": optimizer, "own": own, "in_place": in_place})
        assert mine == theirs
        assert mine["state"]

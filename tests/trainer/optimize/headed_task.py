"""A frozen trunk that every host has by itself, and a head that is trained: float64, for tests with real ranks.

The trunk's values are those that `SEED` in the environment says, so a test can have a host with another one.
"""

from __future__ import annotations

import os

import torch
from torch import nn

from tests.trainer.noise_task import NoiseTask

SEED = "TRUNK_SEED"
WIDTH = 32


class Headed(NoiseTask):
    name = "headed/noise"

    def model(self) -> nn.Module:
        generator = torch.Generator().manual_seed(int(os.environ.get(SEED, "7")))
        trunk = nn.Sequential(nn.Linear(6, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh()).double()
        for weight in trunk.parameters():
            nn.init.normal_(weight, std=0.3, generator=generator)
            weight.requires_grad_(False)
        trunk.register_buffer("shift", torch.full((WIDTH,), 0.25, dtype=torch.float64), persistent=False)
        torch.manual_seed(3)
        return nn.ModuleDict({"trunk": trunk, "head": nn.Linear(WIDTH, 4).double()})

    def forward(self, model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        trunk, head = model.get_submodule("trunk"), model.get_submodule("head")
        outputs: torch.Tensor = head(trunk(batch[0]) + trunk.get_buffer("shift"))
        return outputs

    def travels(self, name: str) -> bool:
        return not name.startswith("trunk.")

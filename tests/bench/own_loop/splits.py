"""The loop of `train.py` by hand, with DDP: given splits take turns, by `minimal_ddp.py`, which is put beside it.

For the search of the best fixed split.
"""

from __future__ import annotations

import minimal_ddp  # type: ignore[import-not-found]
import torch
import train  # type: ignore[import-not-found]
from torch import nn


class OfLoop:
    def __init__(self, name: str) -> None:
        del name
        self.model = train.Adder()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=3e-3)
        self.optimizer.register_step_pre_hook(lambda *_: self._clip())
        self._digits, self._sums = train.numbers(20_000, seed=1)
        self.train_size = len(self._digits)

    def loss(self, model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = nn.functional.cross_entropy(model(self._digits[ids]), self._sums[ids], reduction="sum")
        return loss

    def _clip(self) -> None:
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)


if __name__ == "__main__":
    minimal_ddp.main(OfLoop)

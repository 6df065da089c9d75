"""The task of telling pictures apart: any model of `trainer.tasks.models` on any `ImageData`.

`trainer.tasks.load` makes it, the loop trains it.

    >>> images, labels = task.train_batch(torch.tensor([0, 1]), epoch=0)
    >>> task.loss_sum(model(images), labels) / 2
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from motley.trainer.tasks.images import ImageData, augmented, normalised
from motley.trainer.tasks.models import build
from motley.trainer.tasks.splitmix import hashed, key

_AUGMENT = 2  # the purpose of the key


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageTask:
    """A `Task` (see `trainer.tasks`)."""

    name: str
    model_name: str
    data: ImageData
    norm: Literal["batch", "group"]
    seed: int
    dropout: float = 0.0
    dtype: torch.dtype = torch.float32

    @property
    def classes(self) -> int:
        return self.data.classes

    @property
    def train_size(self) -> int:
        return len(self.data.train)

    @property
    def test_size(self) -> int:
        return len(self.data.test)

    def model(self) -> nn.Module:
        data = self.data
        return build(
            self.model_name,
            channels=data.channels,
            size=data.size,
            classes=data.classes,
            norm=self.norm,
            dropout=self.dropout,
            seed=self.seed,
        ).to(self.dtype)

    def train_batch(self, ids: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        images, labels = self.data.train.take(ids)
        bits = hashed(ids, key(self.seed, epoch, _AUGMENT))
        images = augmented(images, bits, shift=self.data.shift, flip=self.data.flip)
        return normalised(images, self.data.mean, self.data.std).to(self.dtype), labels

    def test_batch(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        images, labels = self.data.test.take(torch.arange(start, min(stop, self.test_size)))
        return normalised(images, self.data.mean, self.data.std).to(self.dtype), labels

    def loss_sum(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets, reduction="sum")

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(dim=1) == targets).sum()

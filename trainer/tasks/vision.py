"""The task of telling pictures apart: any model of `trainer.tasks.models` on any `ImageData`.

`trainer.tasks.load` makes it, the loop trains it.

    >>> data = TaskData.of(task, seed=0)
    >>> images, labels = data.train_batch(torch.tensor([0, 1]), epoch=0).content
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from motley.trainer.tasks.class_names import NAMES
from motley.trainer.tasks.images import ImageData, Pictures, Samples, augmented, normalised
from motley.trainer.tasks.models import build
from motley.trainer.tasks.task import Task

Batch = tuple[Tensor, Tensor]  # pictures [n, C, H, W], labels int64 [n]


class ImageTask(Task):
    """Pictures are uint8 until `prepare` has normalised them."""

    def __init__(
        self,
        *,
        name: str,
        model_name: str,
        data: ImageData,
        norm: Literal["batch", "group"],
        seed: int,
        dropout: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.name = name
        self.data = data
        self._model_name = model_name
        self._norm = norm
        self._seed = seed
        self._dropout = dropout
        self._dtype = dtype

    def model(self) -> nn.Module:
        data = self.data
        return build(
            self._model_name,
            channels=data.channels,
            size=data.size,
            classes=data.classes,
            norm=self._norm,
            dropout=self._dropout,
            seed=self._seed,
        ).to(self._dtype)

    def train_data(self) -> Pictures | Samples:
        self.data.check()
        return self.data.train

    def test_data(self) -> Pictures | Samples:
        return self.data.test

    def augment(self, batch: Batch, bits: Tensor) -> Batch:
        return augmented(batch[0], bits, shift=self.data.shift, flip=self.data.flip), batch[1]

    def prepare(self, batch: Batch) -> Batch:
        return normalised(batch[0], self.data.mean, self.data.std).to(self._dtype), batch[1]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets, reduction="none")

    def metrics(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        return {"accuracy": outputs.argmax(dim=1) == targets}

    def metadata(self) -> Mapping[str, Any]:
        """With all that `trainer.tasks.models.build` needs; `mean` and `std` are those of bytes, 0 to 255."""
        data = self.data
        return {
            "model": self._model_name,
            "norm": self._norm,
            "dropout": self._dropout,
            "channels": data.channels,
            "size": data.size,
            "classes": list(data.names or NAMES.get(self.name.partition("/")[2]) or map(str, range(data.classes))),
            "mean": list(data.mean),
            "std": list(data.std),
        }

"""Pictures in memory, and what is done to them on their way into a batch: shift, flip, normalise.

`trainer.tasks.datasets` makes an `ImageData`, `trainer.tasks.vision` draws batches from it. Augmentation is a function
of the picture and 64 random bits, which come from (seed, epoch, sample): whatever rank draws a sample, it looks the
same.

    >>> images, labels = data.train.take(torch.tensor([3, 1]))
    >>> normalised(augmented(images, bits, shift=2, flip=True), data.mean, data.std).shape
    torch.Size([2, 3, 32, 32])
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from motley.trainer.tasks.splitmix import picked


class Pictures(Protocol):
    """A numbered set of labelled pictures."""

    def __len__(self) -> int: ...

    def take(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures, uint8 [n, C, H, W], and labels, int64 [n], of the samples `ids`, int64 [n]."""
        ...


class Samples(Protocol):
    """A map-style Dataset of labelled pictures: uint8 [C, H, W] and the number of the class."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> tuple[Tensor, int]: ...


def _in_order() -> None:
    """Of data that was looked at when it was read."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """Pictures in memory: `images` uint8 [N, C, H, W], `labels` int64 [N]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        return self.images[ids], self.labels[ids]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageData:
    """A data set: what to train on, what to test on, and the figures that go with it."""

    train: Pictures | Samples
    test: Pictures | Samples
    classes: int
    channels: int
    size: int  # pixels of a side
    mean: tuple[float, ...]  # per channel, in the units of the pictures' bytes
    std: tuple[float, ...]
    shift: int = 0  # augmentation: pixels, at most, in each direction
    flip: bool = False  # augmentation: half of the pictures mirrored
    names: tuple[str, ...] = ()  # of the classes, where the data itself says them
    check: Callable[[], None] = _in_order  # before it is trained on; raises DataError


def augmented(images: Tensor, bits: Tensor, *, shift: int, flip: bool) -> Tensor:
    """Each picture moved by up to `shift` pixels (zeros come in) and mirrored or not, as its 64 random bits say.

    `images` uint8 [n, C, H, W], `bits` int64 [n]; gives a new tensor like `images`.
    """
    if not shift and not flip:
        return images
    _, channels, height, width = images.shape
    rows = torch.arange(height) + picked(bits, 2 * shift + 1, offset=8)[:, None]
    columns = torch.arange(width).expand(len(bits), width)
    if flip:
        columns = torch.where((bits & 1 == 1)[:, None], columns.flip(1), columns)
    columns = columns + picked(bits, 2 * shift + 1, offset=32)[:, None]
    padded = functional.pad(images, (shift,) * 4)
    pixels = (rows[:, :, None] * padded.shape[3] + columns[:, None, :]).flatten(1)
    index = pixels[:, None, :].expand(-1, channels, -1)
    return padded.flatten(2).gather(2, index).reshape(images.shape)


def normalised(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """float32 pictures of about mean 0 and deviation 1 a channel."""
    centre = torch.tensor(mean)[:, None, None]
    return (images.float() - centre) / torch.tensor(std)[:, None, None]

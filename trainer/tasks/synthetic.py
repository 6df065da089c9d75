"""Pictures made from nothing but a seed: no file, no download, any number of them.

The data set `synthetic_image`. Each class has a pattern of coarse coloured tiles; a picture is its class's pattern
under heavy noise. A picture depends on (seed, part, sample) and is made when it is asked for: a million take no memory.

    >>> images, labels = SyntheticImages(count=1000, seed=0, part=0).take(torch.arange(4))
    >>> images.shape
    torch.Size([4, 3, 32, 32])
"""

from __future__ import annotations

import torch
from torch import Tensor

from motley.trainer.tasks.splitmix import hashed, key, picked, random_bytes

CLASSES, CHANNELS, SIZE = 10, 3, 32
_TILES = 4  # tiles along a side of a pattern
_PATTERN, _LABEL, _NOISE = 11, 12, 13  # the purposes of the keys


class SyntheticImages:
    """`count` pictures of one `part` (0 to train on, 1 to test on); the patterns are the same in both."""

    def __init__(self, *, count: int, seed: int, part: int) -> None:
        self._count = count
        self._labels = key(seed, part, _LABEL)
        self._noise = key(seed, part, _NOISE)
        tiles = random_bytes(torch.arange(CLASSES), CHANNELS * _TILES * _TILES, key(seed, _PATTERN))
        side = SIZE // _TILES
        tiles = tiles.reshape(CLASSES, CHANNELS, _TILES, _TILES)
        self._patterns = tiles.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)

    def __len__(self) -> int:
        return self._count

    def take(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        labels = picked(hashed(ids, self._labels), CLASSES)
        noise = random_bytes(ids, CHANNELS * SIZE * SIZE, self._noise).reshape(-1, CHANNELS, SIZE, SIZE)
        images = (self._patterns[labels].int() + 7 * noise.int()) // 8
        return images.to(torch.uint8), labels

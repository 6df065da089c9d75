"""One sample of a Dataset, with the random numbers that it finds. It looks the same in whichever process it is drawn.

>>> sample_of(dataset, 7, seed=0)
(tensor([...]), 4)
"""

from __future__ import annotations

import random
import sys
from typing import Any

import torch


def sample_of(dataset: Any, number: int, seed: int) -> Any:
    seed_all(seed)
    return dataset[number]


def seed_all(seed: int) -> None:
    """The random numbers of torch, random and numpy, where somebody has imported it."""
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed & 0xFFFFFFFF)

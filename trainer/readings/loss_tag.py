"""Which of the scalars that a script writes is the loss of its training.

>>> [is_training_loss(tag) for tag in ("train/loss", "Loss/train", "loss", "eval/loss", "loss/val", "train/grad_norm")]
[True, True, True, False, False, False]
"""

from __future__ import annotations

import re

_WORDS = re.compile(r"[a-z]+")
_TRAINING = {"loss", "train", "training", "step", "batch"}


def is_training_loss(tag: str) -> bool:
    """By its words: `loss`, and nothing but what says that it is of training, and of a step."""
    words = set(_WORDS.findall(tag.lower()))
    return "loss" in words and words <= _TRAINING

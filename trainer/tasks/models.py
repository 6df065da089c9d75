"""The models a task can name: one builder each, for pictures of any size, any channels and any number of classes.

`trainer.tasks.vision` calls `build`. The first weights depend on the seed alone, and the random numbers of the rest of
the process are left as they were.

    >>> build("simple_cnn", channels=1, size=8, classes=10, norm="group", seed=0)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, Protocol

import torch
from torch import nn

from motley.trainer.tasks.resnet import Norm, resnet18, resnet50


class Builder(Protocol):
    def __call__(self, *, channels: int, size: int, classes: int, norm: Norm) -> nn.Sequential: ...


def simple_cnn(*, channels: int, size: int, classes: int, norm: Norm) -> nn.Sequential:
    """Three convolutions and one linear layer: 20,000 to 100,000 weights, good for digits in seconds on a CPU."""

    def stage(inputs: int, outputs: int, *, halve: bool) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        pool: list[nn.Module] = [nn.MaxPool2d(2)] if halve else []
        return [convolution, norm(outputs), nn.ReLU(inplace=True), *pool]

    return nn.Sequential(
        *stage(channels, 32, halve=size >= 16),
        *stage(32, 64, halve=size >= 8),
        *stage(64, 64, halve=size >= 64),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, classes),
    )


def mlp(*, channels: int, size: int, classes: int, norm: Norm) -> nn.Sequential:  # noqa: ARG001 - nothing to normalise
    """Two hidden layers of 2,048: quick to compute and heavy to send, 23 MB of gradients for pictures of 28 pixels."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * size * size, 2048),
        nn.ReLU(inplace=True),
        nn.Linear(2048, 2048),
        nn.ReLU(inplace=True),
        nn.Linear(2048, classes),
    )


BUILDERS: dict[str, Builder] = {"simple_cnn": simple_cnn, "mlp": mlp, "resnet18": resnet18, "resnet50": resnet50}


def _group_norm(channels: int) -> nn.Module:
    """Groups of 16 channels, the size that Wu and He, "Group Normalization" (2018), found best."""
    return nn.GroupNorm(max(1, channels // 16), channels)


NORMS: dict[str, Norm] = {"batch": nn.BatchNorm2d, "group": _group_norm}


def build(
    name: str,
    *,
    channels: int,
    size: int,
    classes: int,
    norm: Literal["batch", "group"],
    seed: int,
    dropout: float = 0.0,
) -> nn.Sequential:
    """A new model on the CPU, its weights drawn after He et al. (2015) from `seed`. `size`: pixels of a side.

    `dropout` (0 to 1) is the part of the last layer's inputs that training leaves out (Srivastava et al. 2014).
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = BUILDERS[name](channels=channels, size=size, classes=classes, norm=NORMS[norm])
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
                nn.init.zeros_(module.bias)
        if dropout:
            *others, last = model.named_children()  # their names stay, and with them those in a checkpoint
            model = nn.Sequential(OrderedDict([*others, ("dropout", nn.Dropout(dropout)), last]))
    return model

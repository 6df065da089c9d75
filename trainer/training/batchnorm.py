"""Running statistics of BatchNorm, combined over ranks.

Each rank's layers see that rank's samples only. Before an evaluation or a checkpoint their running statistics are
combined, weighted by the ranks' shares, as if they were moments of one mixture: the mean of the means, and the mean
of (variance + mean squared) less the new mean squared. All ranks go on with the combined ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

AddUp = Callable[[Sequence[torch.Tensor]], None]


def over_all_ranks(tensors: Sequence[torch.Tensor]) -> None:
    """Add them up, in place."""
    for tensor in tensors:
        dist.all_reduce(tensor)


def combine(model: nn.Module, weight: float, add_up: AddUp = over_all_ranks) -> None:
    """Combine the running statistics of all BatchNorm layers; `weight` is this rank's share (0 to 1, summing to 1).

    `add_up` adds tensors up over the ranks, in place.
    """
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    if not layers:
        return
    means = torch.cat([_buffer(layer.running_mean) for layer in layers])
    variances = torch.cat([_buffer(layer.running_var) for layer in layers])
    moments = torch.stack([means, variances + means.square()]) * weight
    add_up([moments])
    mean, second = moments[0], moments[1]
    variance = (second - mean.square()).clamp_min(0)
    start = 0
    for layer in layers:
        stop = start + layer.num_features
        _buffer(layer.running_mean).copy_(mean[start:stop])
        _buffer(layer.running_var).copy_(variance[start:stop])
        start = stop


def train(model: nn.Module, *, samples: int) -> None:
    """Training mode for a batch of so many samples. BatchNorm uses its running statistics for a single one.

    One sample has no statistics of its own; and the one that a rank with share 0 borrows must leave no trace.
    """
    model.train()
    if samples < 2:
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def has_batchnorm(model: nn.Module) -> bool:
    return any(isinstance(m, _BatchNorm) for m in model.modules())


def _buffer(tensor: torch.Tensor | None) -> torch.Tensor:
    assert tensor is not None
    return tensor

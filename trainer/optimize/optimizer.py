"""The optimizer that `[run]` asks for, and the factor on its learning rates in each step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from motley.trainer.contract.spec import RunOptions

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)


def make_optimizer(options: RunOptions, model: nn.Module) -> torch.optim.Optimizer:
    """SGD or AdamW over all parameters that learn; with `weight_decay_groups` biases and norms are a group without
    decay."""
    rate, decay = options.learning_rate, options.weight_decay
    learn = (parameter for parameter in model.parameters() if parameter.requires_grad)
    parameters: Any = decay_groups(model) if options.weight_decay_groups else learn
    if options.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)
    return torch.optim.SGD(parameters, lr=rate, momentum=options.momentum, weight_decay=decay, fused=True)


def decay_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Parameter groups of what learns: those that decay, then those that do not, which are all of one dimension or none
    (biases, scales) and all of a norm's own. A group without parameters is left out.

    >>> [len(group["params"]) for group in decay_groups(nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8)))]
    [1, 3]
    """
    decays: list[nn.Parameter] = []
    stays: list[nn.Parameter] = []
    for module, parameter in _owned(model):
        (stays if parameter.dim() <= 1 or isinstance(module, _NORMS) else decays).append(parameter)
    groups: list[dict[str, Any]] = [{"params": decays}, {"params": stays, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _owned(model: nn.Module) -> Iterator[tuple[nn.Module, nn.Parameter]]:
    """Each parameter that learns once, with the first module that has it."""
    seen: set[nn.Parameter] = set()
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                yield module, parameter


def rate_factor(options: RunOptions, step: int, steps_total: int) -> float:
    """On the learning rates in the step counted from 0.

    First it rises in `warmup_steps` equal parts to 1 (Goyal et al. 2017, section 2.2), then it stays there or falls as
    a cosine, to 0 at the run's end (Loshchilov and Hutter 2017).

    >>> [round(rate_factor(RunOptions(warmup_steps=2), step, 6), 2) for step in range(6)]
    [0.5, 1.0, 1.0, 0.85, 0.5, 0.15]
    """
    warm = options.warmup_steps
    if step < warm:
        return (step + 1) / warm
    if options.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps_total - warm)))

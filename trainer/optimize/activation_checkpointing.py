"""Activation checkpointing: blocks of a model keep their inputs alone, and compute the rest again in the backward pass
(Chen et al. 2016). `run.activation_checkpointing`.

A block is a child of an `nn.Sequential`, `nn.ModuleList` or `nn.ModuleDict` that has children of its own, where another
child there is of the same class: the residual blocks of a ResNet, the layers of a transformer. What is in a block is
none.

    >>> model = nn.Sequential(*(nn.TransformerEncoderLayer(8, 2) for _ in range(6)))
    >>> checkpoint_blocks(model)
    6
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from motley.trainer.errors import TaskError

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def blocks(model: nn.Module) -> list[nn.Module]:
    """Each once, in the order of the model."""
    return list(dict.fromkeys(_blocks(model)))


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    children = list(module.children())
    kinds = Counter(type(child) for child in children if any(child.children()))
    for child in children:
        if isinstance(module, _CONTAINERS) and kinds[type(child)] > 1:
            yield child
        else:
            yield from _blocks(child)


def checkpoint_blocks(model: nn.Module) -> int:
    """Have all blocks of `model` computed again in the backward pass of training. Returns how many there are.

    Names of parameters stay. Raises TaskError where there is no block.
    """
    found = blocks(model)
    if not found:
        raise TaskError(
            "run.activation_checkpointing: the model has no repeated blocks",
            "Put them into an nn.Sequential or nn.ModuleList, each a module of one class with layers in it",
        )
    for block in found:
        block.forward = functools.partial(_computed_again, block, block.forward)
    return len(found)


def _computed_again(block: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not (block.training and torch.is_grad_enabled()):
        return forward(*args, **kwargs)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _spared_buffers(block)

    # It puts back the random state for the second time by itself: dropout leaves out the same.
    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)


@contextmanager
def _spared_buffers(block: nn.Module) -> Iterator[None]:
    """The second time changes no buffer: the statistics of BatchNorm have taken the batch in already."""
    held = [
        (module, name, buffer)
        for module in block.modules()
        for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False)
    ]
    for module, name, buffer in held:
        module._buffers[name] = buffer.clone()
    try:
        yield
    finally:
        for module, name, buffer in held:
            module._buffers[name] = buffer

"""Rows that are packed into one: each has positions of its own, from 0, and sees itself alone.

transformers makes the block-diagonal mask of the positions by itself, for layers that look at a window too, where it is
given neither another mask nor a cache. A model that takes no notice of it would learn from the wrong text: so it is
tried on a few tokens, before the first step.

    >>> check_apart(model)
"""

from __future__ import annotations

from typing import Any

import torch

from motley.trainer.errors import TaskError

POSITIONS = (0, 1, 2, 0, 1, 2)  # of two rows of three tokens


@torch.no_grad()
def check_apart(model: Any) -> None:
    """Two packed rows: when another first one leaves the second's states as they were, all is well. Raises TaskError.

    `model`: a causal one of transformers, on its device.
    """
    embedding = model.get_input_embeddings().weight
    device, size = embedding.device, embedding.shape[0]
    last = [token % size for token in (1, 2, 3)]
    ids = torch.tensor([[token % size for token in (4, 5, 6)] + last, [token % size for token in (7, 8, 9)] + last])
    positions = torch.tensor([POSITIONS, POSITIONS])
    training = model.training
    model.eval()
    try:
        one, other = model.base_model(
            input_ids=ids.to(device), position_ids=positions.to(device), use_cache=False
        ).last_hidden_state.float()
    finally:
        model.train(training)
    close = 1e-4 if embedding.dtype in (torch.float32, torch.float64) else 1e-2
    if not torch.allclose(one[3:], other[3:], rtol=0.0, atol=close * float(one.abs().max())):
        cause = f"[task] packing = true: in {type(model).__name__} rows that are packed into one see each other"
        raise TaskError(cause, "Set packing = false")

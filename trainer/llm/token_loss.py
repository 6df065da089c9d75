"""The loss of token rows, summed over the labels of each: the logits of some tokens at a time, never of all.

The logits of a row of 2,048 tokens over a vocabulary of 150,000 are 1.2 GB in float32, more than all else that a small
model keeps. Here those of `chunk` tokens are there at once: they are computed once more in the backward pass
(non-reentrant checkpointing, Chen et al. 2016). Tokens without a label have none at all.

    >>> targets = shifted(labels)                                       # [n, L]
    >>> token_loss(hidden, targets, model.lm_head, chunk=1024).shape    # [n]
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

UNCOUNTED = -100  # the label of a token that does not count, as in transformers


def shifted(labels: Tensor, segments: Tensor | None = None) -> Tensor:
    """What each token has to predict, int64 [n, L]: the label of the next one, `UNCOUNTED` at the end of a row.

    `segments`, int64 [n, L]: which of the rows that are packed into one a token is of; none predicts the next one's
    first.
    """
    targets = torch.full_like(labels, UNCOUNTED)
    targets[:, :-1] = labels[:, 1:]
    if segments is not None:
        targets[:, :-1].masked_fill_(segments[:, 1:] != segments[:, :-1], UNCOUNTED)
    return targets


def counted(labels: Tensor, segments: Tensor | None = None) -> int:
    """How many labels count, after the shift."""
    return int((shifted(labels, segments) != UNCOUNTED).sum())


def token_loss(hidden: Tensor, targets: Tensor, head: Callable[[Tensor], Tensor], *, chunk: int) -> Tensor:
    """The negative log likelihood of the targets that count, summed over each row: [n], in float32, or float64 where
    the logits are.

    `hidden`: [n, L, d], the states that `head` makes logits of, [k, d] to [k, vocabulary]. `chunk`: tokens whose logits
    are there at once; 0: all. A row without a target that counts has a loss of 0, and gradients of 0.
    """
    rows, length = targets.shape
    flat = targets.flatten()
    kept = (flat != UNCOUNTED).nonzero().squeeze(1)
    states, wanted = hidden.flatten(0, 1)[kept], flat[kept]
    size = chunk or max(1, len(kept))
    pieces = [
        _piece(head, states[start : start + size], wanted[start : start + size])
        for start in range(0, max(1, len(kept)), size)
    ]
    losses = torch.cat(pieces)
    return losses.new_zeros(rows * length).index_copy(0, kept, losses).view(rows, length).sum(1)


def _piece(head: Callable[[Tensor], Tensor], states: Tensor, wanted: Tensor) -> Tensor:
    """[k]"""
    if not torch.is_grad_enabled():
        return _losses(head, states, wanted)
    losses: Tensor = checkpoint(_losses, head, states, wanted, use_reentrant=False)
    return losses


def _losses(head: Callable[[Tensor], Tensor], states: Tensor, wanted: Tensor) -> Tensor:
    logits = head(states)
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return functional.cross_entropy(logits, wanted, reduction="none")

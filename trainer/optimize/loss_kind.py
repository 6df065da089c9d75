"""Whether a loss is a mean over samples or a sum, by what autograd has kept of how it was computed.

torch's losses keep their `reduction` for their own backward, and scaling, negating or adding keeps the kind. A loss
that is built otherwise has no kind: nobody is told that it is wrong.

>>> reduction(F.cross_entropy(outputs, targets))            # a mean by default
'mean'
>>> reduction(F.cross_entropy(outputs, targets, reduction="sum") / 4)
'sum'
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

Kind = Literal["mean", "sum"]

_KEPT: dict[Any, Kind] = {1: "mean", 2: "sum"}  # torch's numbers of `reduction`
_KEEPS = ("Add", "Sub", "Mul", "Div", "Neg", "ToCopy", "Clone", "View", "UnsafeView", "Reshape", "Squeeze", "Alias")
_DEPTH = 12


def reduction(loss: Tensor) -> Kind | None:
    return _kind(loss.grad_fn, _DEPTH)


def _kind(node: Any, depth: int) -> Kind | None:
    """Of the sum of several losses: their kind when all have the same."""
    if node is None or depth == 0:
        return None
    kept = _KEPT.get(getattr(node, "_saved_reduction", None))
    if kept is not None:
        return kept
    name = type(node).__name__.partition("Backward")[0]
    if name == "Mean":
        return "mean"
    if name not in _KEEPS:
        return None
    kinds = {_kind(before, depth - 1) for before, _ in node.next_functions if before is not None}
    return kinds.pop() if len(kinds) == 1 else None

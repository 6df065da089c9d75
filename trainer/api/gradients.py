"""The mean gradient of a step over all ranks: local gradients added up in flat buckets, each with a flag a parameter.

Each rank brings its loss weighted by its samples, so the sum over the ranks is the global mean. A parameter whose
gradient no rank has keeps none, as on one process; where some have one, the others count as zero. One more flag says
that a rank has left the loop: then nothing is changed.

>>> gradients = Gradients(parameters)
>>> gradients.add_up(ranks.add_up, leaving=False)     # False: somebody leaves, and this step is nobody's
True
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from motley.trainer.api.misuse import misuse

BUCKET_BYTES = 25 << 20  # one is added up while the next is filled
AddUp = Callable[[Sequence[Tensor]], None]


class Bucket:
    """Some parameters of one dtype on one device: a flat tensor of their gradients, flags at its end."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        sizes = [p.numel() for p in self.parameters]
        self.flat = torch.zeros(sum(sizes) + len(sizes) + 1, dtype=parameters[0].dtype, device=parameters[0].device)
        pieces = self.flat.split([*sizes, len(sizes) + 1])
        self.views = [piece.view(p.shape) for piece, p in zip(pieces, self.parameters)]
        self.flags = pieces[-1]

    @torch.no_grad()
    def fill(self, *, leaving: bool) -> None:
        present = [p.grad is not None and not leaving for p in self.parameters]
        here = [
            (view, p.grad)
            for view, p, is_here in zip(self.views, self.parameters, present)
            if is_here and p.grad is not None
        ]
        if len(here) < len(self.views):
            self.flat.zero_()
        if here:
            torch._foreach_copy_([view for view, _ in here], [gradient for _, gradient in here])
        self.flags.copy_(torch.tensor([*map(float, present), float(leaving)]))

    @torch.no_grad()
    def take(self, flags: Sequence[float]) -> None:
        """Put what was added up into the parameters."""
        places, values = [], []
        for parameter, view, flag in zip(self.parameters, self.views, flags):
            if flag <= 0:
                continue
            if parameter.grad is None:
                parameter.grad = torch.empty_like(parameter)
            places.append(parameter.grad)
            values.append(view)
        if places:
            torch._foreach_copy_(places, values)


class Gradients:
    """Of the parameters that are trained. Buckets are made anew when these change."""

    def __init__(self) -> None:
        self._of: list[Tensor] = []
        self._buckets: list[Bucket] = []

    def add_up(self, parameters: Sequence[Tensor], add_up: AddUp, *, leaving: bool = False) -> bool:
        """`add_up` adds tensors up over all ranks, in place. Returns False when a rank leaves the loop."""
        if len(parameters) != len(self._of) or any(a is not b for a, b in zip(parameters, self._of)):
            self._of, self._buckets = list(parameters), buckets_of(parameters)
        for parameter in parameters:
            if parameter.grad is not None and parameter.grad.layout != torch.strided:
                raise misuse("a gradient is sparse, which can't be added up over hosts", "Leave sparse=True out")
        for bucket in self._buckets:
            bucket.fill(leaving=leaving)
        add_up([bucket.flat for bucket in self._buckets])
        flags = [bucket.flags.tolist() for bucket in self._buckets]
        if any(flag[-1] > 0 for flag in flags):
            return False
        for bucket, flag in zip(self._buckets, flags):
            bucket.take(flag)
        return True


def buckets_of(parameters: Sequence[Tensor]) -> list[Bucket]:
    """In the order of the backward pass, the last parameters first."""
    open_ones: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    found: list[Bucket] = []
    for parameter in reversed(parameters):
        some = open_ones.setdefault((parameter.dtype, parameter.device), [])
        some.append(parameter)
        if sum(p.numel() * p.element_size() for p in some) >= BUCKET_BYTES:
            found.append(Bucket(some))
            some.clear()
    return found + [Bucket(some) for some in open_ones.values() if some]

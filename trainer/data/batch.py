"""The samples of one pass: tensors in any nesting of tuples, lists and dicts, the sample their first dimension.

>>> batch = Batch((torch.zeros(5, 3), {"label": torch.arange(5)}), size=5)
>>> [part.size for part in batch.split((3, 2))]
[3, 2]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """`content` as the task makes it; `size` counts its samples."""

    content: Any
    size: int

    def split(self, sizes: Sequence[int]) -> Iterator[Batch]:
        """Parts of so many samples, in order. What is no tensor, and no list of a value for each sample, is in each."""
        start = 0
        for size in sizes:
            yield self.part(start, start + size)
            start += size

    def part(self, start: int, stop: int) -> Batch:
        """The samples from `start` to before `stop`."""

        def cut(leaf: Any) -> Any:
            if isinstance(leaf, Tensor):
                return leaf[start:stop] if leaf.dim() else leaf
            if isinstance(leaf, list) and len(leaf) == self.size:
                return leaf[start:stop]
            return leaf

        return Batch(mapped(cut, self.content), stop - start)

    def to(self, device: torch.device) -> Batch:
        def moved(leaf: Any) -> Any:
            return leaf.to(device, non_blocking=True) if isinstance(leaf, Tensor) else leaf

        return Batch(mapped(moved, self.content), self.size)

    def in_pinned_memory(self) -> Batch:
        """A copy that a GPU takes while this process goes on."""

        def pinned(leaf: Any) -> Any:
            return leaf.pin_memory() if isinstance(leaf, Tensor) and leaf.device.type == "cpu" else leaf

        return Batch(mapped(pinned, self.content), self.size)


def mapped(of_leaf: Callable[[Any], Any], content: Any) -> Any:
    """The same nesting with each leaf replaced. A list that holds no tensor and no container is a leaf: one value for
    each sample."""
    if isinstance(content, dict):
        return {name: mapped(of_leaf, value) for name, value in content.items()}
    if isinstance(content, tuple):
        values = [mapped(of_leaf, value) for value in content]
        return type(content)(*values) if hasattr(content, "_fields") else tuple(values)
    if isinstance(content, list) and any(isinstance(value, (Tensor, dict, tuple, list)) for value in content):
        return [mapped(of_leaf, value) for value in content]
    return of_leaf(content)


def misfits(content: Any, size: int) -> list[str]:
    """The tensors whose first dimension is not the sample, in words: then a batch can't be cut."""
    found: list[str] = []

    def look(leaf: Any) -> None:
        if isinstance(leaf, Tensor) and leaf.dim() and len(leaf) != size:
            found.append(f"a tensor of shape {tuple(leaf.shape)}")

    mapped(look, content)
    return found

"""What an aborted step has changed besides gradients, put back: the model's buffers and the random numbers.

Noted before a step, so that the step can be tried again as if it had not begun. Parameters and optimizer state change
only at the end of a step, so they need no copy.

    >>> undo = StepUndo(model, device)
    >>> undo.note()
    >>> ...          # a step that fails half-way
    >>> undo.undo()  # it is to be tried again
    >>> undo.redo()  # another rank turns out to have completed it
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from motley.trainer.devices import accelerator
from motley.trainer.optimize.device import gpus_of


class StepUndo:
    """One note at a time; the next replaces it."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._buffers = list(model.buffers())
        self._gpus = gpus_of(model, device)
        self._kept = [torch.empty_like(buffer) for buffer in self._buffers]
        self._random: list[Tensor] = []
        self._begun: StepUndo | None = None  # as the step had left it, once it is undone

    @classmethod
    @torch.no_grad()
    def of(cls, model: nn.Module, device: torch.device, before: Sequence[Tensor]) -> StepUndo:
        """Of a step that another process had begun, whose buffers are `model`'s now. `before`: as they were before it.

        Raises RuntimeError when they are of another model.
        """
        undo = cls(model, device)
        undo.note()
        if len(before) != len(undo._kept):
            raise RuntimeError(f"{len(before)} buffers where the model has {len(undo._kept)}")
        for kept, buffer in zip(undo._kept, before):
            kept.copy_(buffer)
        return undo

    def before(self) -> Sequence[Tensor]:
        """The buffers as they were noted."""
        return self._kept

    @torch.no_grad()
    def note(self) -> None:
        self._begun = None
        if self._buffers:
            torch._foreach_copy_(self._kept, self._buffers)
        self._random = [torch.get_rng_state()]
        self._random += [accelerator.random_state(gpu) for gpu in self._gpus]

    @torch.no_grad()
    def restore(self) -> None:
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._kept)
        torch.set_rng_state(self._random[0])
        for gpu, state in zip(self._gpus, self._random[1:]):
            accelerator.set_random_state(gpu, state)

    def undo(self) -> None:
        """`restore`, and keep what the step had changed until the next note: whether another rank has completed the
        step is known for certain only once it is made again."""
        if self._begun is None:
            self._begun = self._now()
        self.restore()

    def redo(self) -> None:
        """Where the step was undone: as it had left buffers and random numbers."""
        if self._begun is not None:
            self._begun.restore()
            self._begun = None

    @contextmanager
    def undone(self) -> Iterator[None]:
        """As it was before the step, for as long as somebody looks at it: another rank may have completed the step."""
        now = self._now()
        self.restore()
        try:
            yield
        finally:
            now.restore()

    def _now(self) -> StepUndo:
        now = copy.copy(self)
        now._kept = [torch.empty_like(buffer) for buffer in self._buffers]
        now.note()
        return now

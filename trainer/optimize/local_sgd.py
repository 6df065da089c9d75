"""Local SGD: ranks train apart for some steps, then move together along their average. `run.local_steps` above 1.

For links so slow that an all-reduce a step can't be had. It sends 1 / H as many bytes, but **does not learn what one
machine would**: between two averages every rank goes its own way on its own samples. Everything else here is exact.

The average is that of DiLoCo (Douillard et al. 2023, algorithm 1): the ranks' changes since the last average, weighted
by their samples, are the gradient of an outer optimizer with Nesterov momentum (as PyTorch's SGD defines it):

    d = sum_i n_i (anchor - theta_i) / sum_i n_i;   v = m v + d;   anchor = anchor - r (d + m v)

DiLoCo's r is 0.7 and its m 0.9, for thousands of averages. Over tens of them so much momentum does harm (digits, 120
steps, H = 5: 79 % right against 97 % with m = 0.5): so the default is lower. r = 1 and m = 0 is plain averaging.

Each rank keeps the state of its own optimizer; a run that is resumed gives all ranks the one of rank 0. Each rank
computes the outer step for itself from the same summed numbers, so all hold the same parameters, bit for bit.

    >>> apart = LocalSgd(options, model)
    >>> apart.begin()                  # once all ranks hold the same parameters
    >>> apart.note(samples)            # after each step of this rank
    >>> apart.average(changing)        # every H steps; all ranks
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from motley.trainer.contract.spec import RunOptions
from motley.trainer.optimize.gradient_compression import sum_over_ranks, wire_dtype
from motley.trainer.optimize.weight_average import WeightAverage


class LocalSgd:
    """The outer optimizer. `steps` counts this rank's steps since the last average."""

    def __init__(self, options: RunOptions, model: nn.Module, ema: WeightAverage | None = None) -> None:
        """`ema` moves on with every average of the ranks, by as many steps as it is of."""
        self.steps = 0
        self._samples = 0
        self._rate = options.outer_learning_rate
        self._momentum = options.outer_momentum
        self._dtype = wire_dtype(options.compress)
        self._ema = ema
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._anchor = self._flat()
        self._velocity = torch.zeros_like(self._anchor)

    @property
    def momentum(self) -> Tensor:
        """The outer optimizer's: part of the state that ranks give each other."""
        return self._velocity

    def begin(self) -> None:
        """Start from the parameters and the momentum as they are, the same on all ranks."""
        self._anchor = self._flat()
        self.steps = self._samples = 0

    def note(self, samples: int) -> None:
        self.steps += 1
        self._samples += samples

    @torch.no_grad()
    def average(self, changing: AbstractContextManager[object]) -> None:
        """Take the outer step. Every rank must have noted as many steps.

        `changing` is entered once the others' part is here: nobody looks at the state from then on until it is whole.
        """
        total = torch.tensor([self._samples], dtype=torch.int64)
        dist.all_reduce(total)
        change = (self._anchor - self._flat()).mul_(self._samples / max(1, int(total)))
        sum_over_ranks(change, self._dtype)
        with changing:
            self._velocity.mul_(self._momentum).add_(change)
            self._anchor.sub_(change.add_(self._velocity, alpha=self._momentum), alpha=self._rate)
            steps = self.rewind()
            if self._ema is not None:
                self._ema.update(steps)

    @torch.no_grad()
    def rewind(self) -> int:
        """Put the parameters back to the last average. Returns how many of this rank's steps that undoes."""
        parts = self._anchor.split([p.numel() for p in self._parameters])
        for parameter, part in zip(self._parameters, parts):
            parameter.copy_(part.view_as(parameter))
        undone, self.steps, self._samples = self.steps, 0, 0
        return undone

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint; together with the parameters of the last average it is everything."""
        return {"velocity": self._velocity}

    def load(self, state: dict[str, Tensor]) -> None:
        self._velocity.copy_(state["velocity"])

    def _flat(self) -> Tensor:
        return torch.cat([p.detach().reshape(-1) for p in self._parameters])

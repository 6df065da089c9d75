"""What ranks tell each other every window of steps: a few numbers a step, and rank 0's answer.

Each rank notes one row a step; `gather` gives all rows to rank 0; `agree` gives all ranks rank 0's new shares.
Both are small collectives right after a step, when the ranks are together anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True, slots=True)
class Row:
    """One step on one rank."""

    batch: int
    loss_sum: float
    busy_ms: float  # samples fetched, gradient computed, weights updated: all but waiting. NaN: it was disturbed
    step_ms: float


class Window:
    """The rows of this rank since the last exchange."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    @property
    def rows(self) -> tuple[Row, ...]:
        """This rank's own, not exchanged yet."""
        return tuple(self._rows)

    def note(self, row: Row) -> None:
        self._rows.append(row)

    def __len__(self) -> int:
        return len(self._rows)

    def gather(self) -> list[list[Row]]:
        """On rank 0 everybody's rows, by rank then step; on the others none. Every rank must have noted as many.

        This rank's are forgotten.
        """
        mine = torch.tensor([[r.batch, r.loss_sum, r.busy_ms, r.step_ms] for r in self._rows], dtype=torch.float64)
        self._rows.clear()
        if dist.get_rank() != 0:
            dist.gather(mine, dst=0)
            return []
        everybody = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.gather(mine, everybody, dst=0)
        return [[Row(int(row[0]), *row[1:]) for row in rank.tolist()] for rank in everybody]


def agree(shares: Sequence[int], leave: bool = False) -> tuple[tuple[int, ...], bool]:
    """Rank 0's shares, and whether all let go of the group here; what the others pass only gives the length."""
    tensor = torch.tensor([*shares, leave], dtype=torch.int64)
    dist.broadcast(tensor, 0)
    *agreed, left = tensor.tolist()
    return tuple(agreed), bool(left)

"""What ranks tell each other every window of steps: a few numbers a step, and rank 0's answer.

Nobody waits for it. The numbers of a window go to rank 0 while the next step is computed, and rank 0's answer comes
back during the one after that; both small collectives have ended long before they are looked at. (Waiting for them
where they begin costs a lab of hosts with rationed CPU time 7 ms in every fifth step of 180.)

    >>> window.note(row)                   # after each step
    >>> window.gather()                    # after the last step of a window, on all ranks
    >>> rows = window.gathered()           # a step later; on rank 0 everybody's
    >>> window.answer(shares, leave=False)
    >>> window.answered()                  # another step later, on all ranks
    ((96, 32), False)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from motley.trainer.balance.measured_step import MeasuredStep, StepWork


@dataclass(frozen=True, slots=True)
class _Sent:
    """A collective under way, and what must not go before it has ended."""

    work: dist.Work | None
    tensor: Tensor
    into: list[Tensor]

    def wait(self) -> None:
        """Raises what the collective raises when a peer has gone."""
        if self.work is not None:
            self.work.wait()


class Window:
    """The rows of this rank, and where the exchange stands: `gathering`, then `answering`, then neither."""

    def __init__(self, untold: Sequence[MeasuredStep] = ()) -> None:
        """`untold`: of the group before. Rank 0 of this one tells them from its own rows, if it lives to do so."""
        self._rows: list[MeasuredStep] = []
        self._told = list(untold)  # that are on their way; nobody can be sure of them yet
        self._gathering: _Sent | None = None
        self._answering: _Sent | None = None

    @property
    def rows(self) -> tuple[MeasuredStep, ...]:
        """This rank's own that rank 0 may not know yet."""
        return (*self._told, *self._rows)

    @property
    def gathering(self) -> bool:
        return self._gathering is not None

    @property
    def answering(self) -> bool:
        return self._answering is not None

    @property
    def on_its_way(self) -> bool:
        return self.gathering or self.answering

    def note(self, row: MeasuredStep) -> None:
        self._rows.append(row)

    def forget(self, count: int) -> None:
        """The newest `count` rows are of steps that were undone."""
        del self._rows[len(self._rows) - count :]

    def __len__(self) -> int:
        """Of the rows that are not on their way yet."""
        return len(self._rows)

    def gather(self) -> None:
        """Send this rank's rows to rank 0. Every rank must have noted as many."""
        mine = torch.tensor([_figures(row) for row in self._rows], dtype=torch.float64)
        self._told, self._rows = [*self._told, *self._rows], []
        leads = dist.get_rank() == 0
        everybody = [torch.empty_like(mine) for _ in range(dist.get_world_size())] if leads else []
        work = dist.gather(mine, everybody if leads else None, dst=0, async_op=True)
        self._gathering = _Sent(work, mine, everybody)

    def gathered(self) -> list[list[MeasuredStep]]:
        """On rank 0 everybody's rows, by rank then step; on the others none."""
        sent, self._gathering = self._gathering, None
        assert sent is not None, "gather comes first"
        sent.wait()
        if sent.into:  # rank 0: from here on it is its own affair
            self._told = []
        return [[_step(row) for row in rank.tolist()] for rank in sent.into]

    def answer(self, shares: Sequence[int], leave: bool) -> None:
        """Rank 0's shares, and whether all let go of the group; what the others pass only gives the length."""
        tensor = torch.tensor([*shares, leave], dtype=torch.int64)
        self._answering = _Sent(dist.broadcast(tensor, 0, async_op=True), tensor, [])

    def answered(self) -> tuple[tuple[int, ...], bool]:
        """The shares from the next step on, and whether all let go of the group here."""
        sent, self._answering = self._answering, None
        assert sent is not None, "answer comes first"
        sent.wait()
        self._told = []
        *agreed, left = sent.tensor.tolist()
        return tuple(agreed), bool(left)


def _figures(row: MeasuredStep) -> list[float]:
    part = [row.part.share, row.part.work] if row.part is not None else [math.nan, math.nan]
    figures = [row.batch, row.loss_sum, row.busy_ms, row.step_ms, row.threads, row.gpu_util, row.memory_full]
    return [*figures, row.units, *part]


def _step(row: list[float]) -> MeasuredStep:
    batch, loss_sum, busy_ms, step_ms, threads, gpu_util, memory_full, units, share, work = row
    part = None if math.isnan(share) else StepWork(int(share), work)
    return MeasuredStep(
        int(batch), loss_sum, busy_ms, step_ms, int(threads), gpu_util, memory_full, part=part, units=units
    )  # fmt: skip


def agree_on_epochs(ended: int, best: float, best_epoch: int) -> tuple[int, float, int]:
    """What any rank knows: how many epochs' ends are done, the highest score of their evaluations, and when it was.

    All three only rise, so the highest are those of the rank that has come furthest.
    """
    tensor = torch.tensor([ended, best, best_epoch], dtype=torch.float64)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return int(tensor[0]), float(tensor[1]), int(tensor[2])


def agree(shares: Sequence[int]) -> tuple[int, ...]:
    """Rank 0's shares, at once; what the others pass only gives the length."""
    tensor = torch.tensor(shares, dtype=torch.int64)
    dist.broadcast(tensor, 0)
    return tuple(tensor.tolist())

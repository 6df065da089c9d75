"""What a rank takes from one group to the next. Its state is always whole: that of `step` completed steps, or none.

A state that comes from another rank takes the place of this one's only when all of it is here (`take`). Until then this
rank has the one of before: it can go on from it, give it to others, or write it to a disk.

    >>> own_buffers = kept.settle(newest=412, epoch_ends=8)
    >>> kept.take(share_state(...), epoch_ends=8, best=0.97)      # raises, and changes nothing, when the source goes
    >>> kept.step
    412
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from motley.trainer.balance.balancer import Balancer
from motley.trainer.balance.measured_step import MeasuredStep
from motley.trainer.contract.term import NO_TERM, Term
from motley.trainer.optimize.precision import FULL, Precision

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from motley.trainer.training.job import Job


BEFORE = -1  # ends of epochs, while the evaluation before the first step is still to come
UNBEGUN = -2  # the same, of a rank that has been in no group: where all say so, the run has not begun


class Undo(Protocol):
    """What a step that was begun has changed, to be put back: `trainer.training.step_undo`, and for a user's own loop
    `trainer.api.prepared`."""

    def undo(self) -> None: ...

    def redo(self) -> None:
        """Of what was undone; else nothing."""
        ...

    def undone(self) -> AbstractContextManager[None]: ...


class Incoming(Protocol):
    """A whole state of another rank that has come: `trainer.rank.share_state`, `trainer.api.share_prepared`."""

    @property
    def step(self) -> int:
        """Completed."""
        ...

    def put(self) -> None: ...


@dataclass(slots=True, kw_only=True)
class KeptState:
    """`changing` is held while the state of this rank is neither the one nor the other. Whoever looks at the state from
    another thread holds it, too."""

    step: int  # completed; -1: no whole state, another rank has it
    term: Term = NO_TERM  # of the last group
    leader: str = ""  # that formed it
    generation: int = -1
    epoch_ends: int = UNBEGUN
    best: float = 0.0
    best_epoch: int = 0
    last_end: float | None = None
    backend: str = ""  # of the last group
    precision: Precision = FULL  # the same
    pass_limit: int | None = None
    rows: tuple[MeasuredStep, ...] = ()  # of steps that nobody was told of
    balancer: Balancer | None = None
    undo: Undo | None = None  # of a step, or an epoch's end, that was begun and not completed
    ending_epoch: bool = False  # it is an epoch's end
    changing: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, job: Job) -> None:
        """After the group of `job` broke, or was let go of. Keeps nothing that holds on to the group."""
        begun = job.in_step or job.ending_epoch
        if begun or (job.step, job.epoch_ends) != (self.step, self.epoch_ends):  # else what was undone may be so still
            self.undo = job.passes.undo if begun else None
            self.ending_epoch = job.ending_epoch
        self.step, self.last_end = job.step, job.last_end
        self.epoch_ends, self.best, self.best_epoch = job.epoch_ends, job.best, job.best_epoch
        self.pass_limit, self.rows, self.balancer = job.passes.limit, job.window.rows, job.balancer

    def discard(self) -> None:
        """This rank's state does not count."""
        self.step, self.undo, self.rows = -1, None, ()
        self.epoch_ends, self.best, self.best_epoch = UNBEGUN, 0.0, 0

    def settle(self, newest: int, epoch_ends: int) -> bool:
        """Before the state of `newest` completed steps is taken: returns whether this rank's buffers stay its own.

        A step, or an epoch's end, that nobody completed is tried again, as if it had not begun. When another rank
        completed it, ours has gone through all of it but the last: what it did to buffers and random numbers holds.
        `epoch_ends` of them are done. Nothing is forgotten here: when that state does not come, this is done again,
        and another step may be the newest then; what was undone for the one before is done again for that.
        """
        done = self.ending_epoch and self.epoch_ends < epoch_ends
        if self.undo is not None and self.step == newest and not done:
            self.undo.undo()
        elif self.undo is not None:
            self.undo.redo()
        return 0 <= newest - 1 <= self.step

    def take(self, incoming: Incoming, *, epoch_ends: int, best: float, best_epoch: int = 0) -> None:
        """The state of another rank is all here: from now on it is this one's."""
        with self.changing:
            before, self.step = self.step, -1
            incoming.put()
            self.undo, self.epoch_ends, self.best, self.best_epoch = None, epoch_ends, best, best_epoch
            if self.generation > 0:  # before the first step there is nothing that anybody could have missed
                missed = MeasuredStep(batch=0, loss_sum=0.0, busy_ms=math.nan, step_ms=0.0)
                self.rows += (missed,) * (incoming.step - max(before, 0))
            self.step = incoming.step

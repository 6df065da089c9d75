"""Every figure that comes of the steps of a run: what the table shows, the two charts, the pace. The store's.

figures = StepFigures(roster)
figures.add(sample, global_batch)
figures.shown()                     # the step that the screen shows
"""

from __future__ import annotations

from collections.abc import Iterable

from motley.console.state.curve import Curve
from motley.console.state.pace import Pace
from motley.console.state.participants import Participants
from motley.console.state.shown_step import ShownStep, Window
from motley.console.state.step_table import Step, StepTable
from motley.remote.feed import StepsBefore
from motley.trainer.contract.wire import Sample


class StepFigures:
    """`step` is the newest one that was completed, counted from 1."""

    def __init__(self, roster: Participants) -> None:
        self.step = 0
        self.epoch: int | None = None
        self.gain: float | None = None  # against equal shares, as rank 0 says
        self.saved_s: float | None = None
        self.throughput = Curve()
        self.losses = Curve()
        self._roster = roster
        self._table = StepTable()
        self._window = Window()
        self._pace = Pace()

    @property
    def pace_ms(self) -> float | None:
        return self._pace.ms

    def shown(self) -> ShownStep | None:
        """None while the group has not made a step."""
        return self._window.shown()

    def add(self, sample: Sample, global_batch: int | None) -> None:
        self._finish(self._table.add(sample, global_batch=global_batch))

    def skip(self, before: StepsBefore) -> None:
        """Steps that are not told: the curves have them all the same."""
        for step, done, ms, loss_sum, loss_samples in before.steps:
            self.throughput.add(step, total=done, weight=ms / 1000)
            self.losses.add(step, total=loss_sum, weight=loss_samples)

    def expect_ranks(self, count: int) -> None:
        """How many ranks the run has, as far as nobody has said who takes part."""
        self._table.expect_ranks(count)

    def formed(self, generation: int, members: Iterable[int], global_batch: int | None) -> None:
        """A group was formed, which the roster knows of."""
        if known := tuple(members):
            self._table.expect(generation, known)
        self._settle(global_batch)

    def lost(self, member: int, global_batch: int | None) -> None:
        """A member has gone, which the roster knows of."""
        self._table.lose(member)
        self._settle(global_batch)

    def heard(self, members: set[int], up: bool, global_batch: int | None) -> None:
        """The connection that brings the members' lines went up or down."""
        if up:
            self._table.unheard -= members
        else:
            self._table.unheard |= members
            self._settle(global_batch)

    def is_silent(self, member: int) -> bool:
        """Whether no step waits for its lines any more."""
        return member in self._table.unheard

    def _settle(self, global_batch: int | None) -> None:
        """Steps may be complete by the news, and what is shown may be over: who is lost counts nowhere."""
        self._finish(self._table.settle(global_batch))
        newest = self._window.step
        if newest is not None and newest.generation <= self._roster.generation:
            tracks = self._roster.ranks
            if any(member in tracks and not tracks[member].active for member in newest.ranks):
                self._window.clear()

    def _finish(self, steps: Iterable[Step]) -> None:
        for step in steps:
            if step.step <= self.step:  # the run went back: what came after is no more
                self.throughput.cut(step.step - 1)
                self.losses.cut(step.step - 1)
            self.step, self.epoch = step.step, step.epoch
            done = step.samples if step.units is None else step.units
            self.throughput.add(step.step, total=done, weight=step.ms / 1000)
            self.losses.add(step.step, total=step.loss_sum, weight=step.loss_samples)
            self._pace.add(step.ms)
            self._roster.finish(step)
            if step.whole and self._roster.are_in(step.ranks, step.generation):
                self._window.add(step)
            for sample in step.ranks.values():
                if sample.gain is not None:
                    self.gain, self.saved_s = sample.gain, sample.saved_s

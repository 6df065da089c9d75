"""The steps of a run, each gathered from the lines of all its ranks: a step is handed out when all of them have spoken.

Lines of hosts come at their own moments, so one rank is seconds ahead of another. What the screen shows together is of
one step, and that is what this table makes:

    >>> table = StepTable()
    >>> table.expect(0, (0, 1))
    >>> table.add(first, global_batch=256), table.add(second, global_batch=256)
    ([], [Step(step=1, generation=0, samples=256, whole=True, ...)])

Adding a sample takes a few microseconds: it is done for every line of every rank.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field

from motley.trainer.contract.wire import Sample

PENDING = 256  # steps that may wait for a rank whose lines come late
GENERATIONS = 8  # whose members are remembered
LEAST_MS = 1e-6  # a step that took less has no time that could be divided by


class _Awaited:
    """A member that a step waits for, and once its line is there another one. Each is looked at once, so that a line
    costs the same however many ranks there are."""

    def __init__(self, members: frozenset[int], missing: Iterable[int]) -> None:
        self.members = members
        self._left = iter(missing)
        self._one = next(self._left, None)

    def is_known(self, *there: Container[int]) -> bool:
        """Whether there is one that none of these has; if not, nobody is known, and all have to be looked at."""
        while self._one is not None and any(self._one in those for those in there):
            self._one = next(self._left, None)
        return self._one is not None


@dataclass(slots=True)
class Step:
    """One step over all ranks of its generation."""

    step: int
    generation: int = 0
    epoch: int = 0
    samples: int = 0  # of all ranks, those too that were not heard
    units: int | None = None  # what the task counts besides samples, the same; None: nothing, or not known
    unit: str = ""
    ms: float = 0.0  # from the end of the one before: the mean of the ranks, who wait for each other
    loss_sum: float = 0.0
    loss_samples: int = 0
    whole: bool = False  # all ranks have spoken whose lines come at all
    ranks: dict[int, Sample] = field(default_factory=dict)  # by member
    awaited: _Awaited | None = field(default=None, repr=False, compare=False)


class StepTable:
    """`unheard` holds the members whose lines do not come: no step waits for them."""

    def __init__(self) -> None:
        self.unheard: set[int] = set()
        self.patience = PENDING
        self._pending: dict[int, Step] = {}
        self._members: dict[int, frozenset[int]] = {}  # by generation
        self._lost: set[int] = set()  # of the newest generation
        self._fallback = 0  # ranks, as long as nobody has said who takes part
        self._done = 0
        self._newest: Step | None = None  # of those that were handed out
        self._generation = -1

    def expect(self, generation: int, members: Iterable[int]) -> None:
        """Who takes part in the steps of a generation."""
        self._members[generation] = frozenset(members)
        self._lost.clear()
        while len(self._members) > GENERATIONS:
            del self._members[min(self._members)]

    def expect_ranks(self, count: int) -> None:
        """How many ranks there are, as far as nobody has said who takes part."""
        self._fallback = count

    def lose(self, member: int) -> None:
        """A member is out of the newest generation."""
        self._lost.add(member)

    def add(self, sample: Sample, *, global_batch: int | None) -> list[Step]:
        """The steps that this line completes, in order: one, or older ones too that will not be completed any more.

        A later generation may begin before the newest step known here: what it repeats counts anew.
        """
        if sample.member not in self._members.get(sample.generation, (sample.member,)):
            return []  # of a group of the same number under a leader that was cut off
        if sample.generation > self._generation:
            self._generation = sample.generation
            self._done = min(self._done, sample.step - 1)
            for late in [s for s in self._pending if s >= sample.step]:
                del self._pending[late]
        if sample.step <= self._done:
            self._add_late(sample, global_batch)
            return []
        step = self._pending.get(sample.step)
        if step is None:
            if sample.generation < self._generation:
                return []
            step = self._pending[sample.step] = Step(sample.step, sample.generation, sample.epoch)
        elif step.generation != sample.generation:
            return []
        step.ranks[sample.member] = sample
        step.samples += sample.batch
        if self.unheard:
            self.unheard.discard(sample.member)  # its lines come again
        if self._is_complete(step, global_batch):
            return self._finish(step.step, global_batch, whole=True)
        if len(self._pending) > self.patience:
            return self._lose_patience(global_batch)
        return []

    def _add_late(self, sample: Sample, global_batch: int | None) -> None:
        """A line of the newest step, which was handed out without it: the step has it from now on."""
        newest = self._newest
        if newest is None or (sample.step, sample.generation) != (newest.step, newest.generation):
            return
        if newest.generation < max(self._members, default=-1) or sample.member in self._lost:
            return  # who is lost counts nowhere
        if sample.member not in newest.ranks:
            newest.ranks[sample.member] = sample
            _sum_up(newest, self._all_in(newest), global_batch)

    def settle(self, global_batch: int | None) -> list[Step]:
        """The steps that are complete by now, after a word on who takes part or whose lines do not come."""
        ready = [s for s, step in self._pending.items() if self._is_complete(step, global_batch)]
        return self._finish(max(ready), global_batch, whole=True) if ready else []

    def _is_complete(self, step: Step, global_batch: int | None) -> bool:
        members = self._members.get(step.generation)
        if members is None:
            enough = _samples_of(step) or global_batch
            return 0 < self._fallback <= len(step.ranks) or bool(enough and step.samples >= enough)
        if len(step.ranks) >= len(members):
            return True
        if step.awaited is None or step.awaited.members is not members:
            step.awaited = _Awaited(members, members)
        if step.awaited.is_known(step.ranks, self.unheard, self._lost):
            return False
        missing = members.difference(step.ranks)
        if missing <= self.unheard:
            return True
        step.awaited = _Awaited(members, missing)
        enough = _samples_of(step) or global_batch
        return missing <= self.unheard | self._lost and bool(enough and step.samples >= enough)

    def _lose_patience(self, global_batch: int | None) -> list[Step]:
        """Too many steps wait: those who keep the oldest one waiting are waited for no longer."""
        oldest = self._pending[min(self._pending)]
        members = self._members.get(oldest.generation)
        if members is not None:
            self.unheard |= members.difference(oldest.ranks)
            if finished := self.settle(global_batch):
                return finished
        return self._finish(oldest.step, global_batch, whole=False)

    def _finish(self, newest: int, global_batch: int | None, *, whole: bool) -> list[Step]:
        """Hand out a step and the older ones that some rank's line is missing of."""
        self._done = max(self._done, newest)
        steps = [self._pending.pop(s) for s in sorted(self._pending) if s <= newest]
        for step in steps:
            step.whole = whole if step.step == newest else self._is_complete(step, global_batch)
            _sum_up(step, self._all_in(step), global_batch)
        self._newest = steps[-1] if steps else self._newest
        return steps

    def _all_in(self, step: Step) -> bool:
        """Whether every rank of the step has spoken, heard or not."""
        members = self._members.get(step.generation)
        return len(step.ranks) >= (self._fallback if members is None else len(members))


def _samples_of(step: Step) -> int | None:
    """How many samples the step had, where a rank says so."""
    return next((s.step_batch for s in step.ranks.values() if (s.step_batch or 0) > 0), None)


def _sum_up(step: Step, all_in: bool, global_batch: int | None) -> None:
    ranks = step.ranks.values()
    step.samples, step.loss_sum, step.loss_samples = sum(rank.batch for rank in ranks), 0.0, 0
    step.ms = max(LEAST_MS, sum(rank.step_ms for rank in ranks) / len(step.ranks))
    if step.ranks and all(rank.unit and rank.units is not None for rank in ranks):
        step.unit, step.units = next(rank.unit for rank in ranks), sum(rank.units or 0 for rank in ranks)
    for rank in ranks:
        if rank.loss is not None and rank.batch:
            step.loss_sum += rank.loss * rank.batch
            step.loss_samples += rank.batch
    if not all_in:
        # A rank took part in the step even when its line does not come: the step is not smaller for it.
        heard, step.samples = step.samples, max(step.samples, _samples_of(step) or global_batch or 0)
        if step.units is not None and heard:
            step.units = round(step.units * step.samples / heard)

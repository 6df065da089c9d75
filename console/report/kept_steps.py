"""The steps that a run's result stands on, each gathered from the lines of all its ranks, whatever order they are in.

`console.state.step_table` hands steps out while a run goes on, and has to decide whom to wait for. Here all lines are
there: a step belongs to the newest generation that made it, and what an older one had of it, or of later steps, was
given up.

    >>> steps = KeptSteps()
    >>> steps.expect(0, (0, 1))
    >>> steps.add(samples)
    >>> kept, given_up = steps.settle(global_batch=256)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from motley.console.report.step_lines import StepLine
from motley.trainer.contract.wire import Sample

LEAST_MS = 1e-6


@dataclass(slots=True)
class KeptStep:
    """One step. `ms`: the mean of its ranks, who wait for each other. `parts`: (host, samples) by member."""

    step: int
    generation: int
    epoch: int
    time: float = 0.0  # at its end, seconds since 1970 by the clock of a rank
    samples: int = 0
    units: int = 0
    in_units: bool = True
    total_ms: float = 0.0
    ms: float = LEAST_MS  # once the steps are settled
    loss_sum: float = 0.0
    loss_samples: int = 0
    told: int = 0  # samples that the step had, as a rank says
    parts: dict[int, tuple[str, int, float, float, int]] = field(default_factory=dict)  # + compute, wait ms, units

    @property
    def loss(self) -> float | None:
        return self.loss_sum / self.loss_samples if self.loss_samples else None

    def hosts(self) -> dict[str, int]:
        """Samples by host."""
        found: dict[str, int] = {}
        for host, batch, *_ in self.parts.values():
            found[host] = found.get(host, 0) + batch
        return found


class KeptSteps:
    def __init__(self) -> None:
        self._steps: dict[int, KeptStep] = {}
        self._members: dict[int, frozenset[int]] = {}
        self._first: dict[int, int] = {}  # the first step of each generation
        self._given_up: list[KeptStep] = []
        self._hosts: dict[str, str] = {}  # each name once, not once a line

    def expect(self, generation: int, members: Iterable[int]) -> None:
        """Who takes part in the steps of a generation."""
        self._members[generation] = frozenset(members)

    def add(self, lines: Iterable[Sample | StepLine]) -> None:
        """Twice the same line of a member counts once. One loop, for there are hundreds of thousands."""
        number = generation = -1
        expected: frozenset[int] | None = None
        step: KeptStep | None = None
        for line in lines:
            member = line.member
            if line.step != number or line.generation != generation:
                number, generation, step = line.step, line.generation, None
                expected = self._members.get(generation)
            if expected is not None and member not in expected:
                continue  # of a group of the same number under a leader that was cut off
            if step is None:
                step = self._step(number, generation, line.epoch)
            if step is None or member in step.parts:
                continue
            host, batch, loss, units = line.host, line.batch, line.loss, line.units
            host = self._hosts.setdefault(host, host)
            step.parts[member] = host, batch, line.compute_ms, line.wait_ms, units or 0
            if line.time > step.time:
                step.time = line.time
            if line.step_ms > 0.0:
                step.total_ms += line.step_ms
            told = line.step_batch
            if told is not None and told > step.told:
                step.told = told
            if units is None:
                step.in_units = False
            else:
                step.units += units
            if batch > 0:
                step.samples += batch
                if loss is not None:
                    step.loss_sum += loss * batch
                    step.loss_samples += batch

    def _step(self, number: int, generation: int, epoch: int) -> KeptStep | None:
        """The one that a line belongs to; None where a newer generation has made it."""
        if number < 1:
            return None
        if number < self._first.get(generation, math.inf):
            self._first[generation] = number
        step = self._steps.get(number)
        if step is None or step.generation < generation:
            if step is not None:
                self._given_up.append(step)
            step = self._steps[number] = KeptStep(number, generation, epoch)
        return step if step.generation == generation else None

    def settle(self, global_batch: int | None) -> tuple[list[KeptStep], list[KeptStep]]:
        """The steps kept, in order, and those that were given up. A rank whose line lacks took part all the same."""
        kept: list[KeptStep] = []
        made_again: dict[int, float] = {}  # by generation: from which step on a newer one has made all
        newest = math.inf
        for generation in sorted(self._first, reverse=True):
            made_again[generation] = newest
            newest = min(newest, self._first[generation])
        for number in sorted(self._steps):
            step = self._steps[number]
            (kept if number < made_again[step.generation] else self._given_up).append(step)
            expected = self._members.get(step.generation)
            if expected is not None and len(step.parts) < len(expected) and step.samples:
                whole = max(step.samples, step.told or global_batch or 0)
                step.units = round(step.units * whole / step.samples)
                step.samples = whole
        for step in (*kept, *self._given_up):
            step.ms = max(LEAST_MS, step.total_ms / len(step.parts))
        return kept, self._given_up

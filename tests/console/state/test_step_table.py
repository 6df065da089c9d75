"""When a step is handed out, and what a line costs that is of none yet."""

from __future__ import annotations

import random

import pytest

from motley.console.state.step_table import Step, StepTable
from motley.trainer.contract.wire import Sample


def line(step: int, member: int, *, generation: int = 0, told: int | None = None) -> Sample:
    return Sample(
        seq=step, step=step, epoch=0, time=1.0, host="a", member=member, rank=member, generation=generation, batch=8,
        loss=1.0, compute_ms=1.0, wait_ms=1.0, data_ms=0.0, step_ms=2.0, samples_per_s=1.0, step_batch=told,
    )  # fmt: skip


class Counted(int):
    """A member that counts how often it is found equal to another one: once for each time that it is looked up."""

    times = 0

    def __hash__(self) -> int:
        return int(self)

    def __eq__(self, other: object) -> bool:
        Counted.times += 1
        return int(self) == other


@pytest.mark.parametrize("unheard", [0, 3])
@pytest.mark.parametrize("order", ["up", "down", "random"])
def test_a_line_costs_the_same_however_many_ranks_there_are(order: str, unheard: int) -> None:
    most = []
    for ranks in (20, 400):
        table = StepTable()
        table.expect(0, map(Counted, range(ranks)))
        table.unheard.update(map(Counted, range(unheard)))
        members = list(range(unheard, ranks))
        members = {"up": members, "down": members[::-1], "random": random.Random(3).sample(members, len(members))}[
            order
        ]
        Counted.times, done = 0, []
        for step in range(1, 4):
            for member in members:
                done += table.add(line(step, Counted(member)), global_batch=None)
        assert [one.step for one in done] == [1, 2, 3]
        most.append(Counted.times / (3 * ranks))
    few, many = most
    assert many < 1.5 * few + 5


class Plain(StepTable):
    """Looks at all members at each line."""

    def _is_complete(self, step: Step, global_batch: int | None) -> bool:
        members = self._members.get(step.generation)
        told = next((one.step_batch for one in step.ranks.values() if one.step_batch), None)
        enough = told or global_batch
        if members is None:
            return 0 < self._fallback <= len(step.ranks) or bool(enough and step.samples >= enough)
        missing = members - set(step.ranks)
        has_all = bool(enough and step.samples >= enough)
        if len(step.ranks) >= len(members) or missing <= self.unheard:
            return True
        return missing <= self.unheard | self._lost and has_all


@pytest.mark.parametrize("seed", range(100))
def test_whom_it_waits_for_is_who_lacks(seed: int) -> None:
    chance = random.Random(seed)
    one, other = StepTable(), Plain()
    one.patience = other.patience = 6
    generation, at = 0, dict.fromkeys(range(6), 0)
    for _ in range(300):
        member = chance.randrange(6)
        match chance.randrange(24):
            case 0:
                for table in (one, other):
                    table.lose(member)
            case 1:
                for table in (one, other):
                    table.unheard ^= {member}
                assert one.settle(40) == other.settle(40)
            case 2:
                generation += chance.randrange(2)
                members = chance.sample(range(6), chance.randrange(1, 7))
                for table in (one, other):
                    table.expect(generation, members)
                    table.expect_ranks(6)
                back = chance.randrange(3)
                at = {member: max(0, min(at.values()) - back) for member in at}
            case _:
                at[member] += 1
                sample = line(at[member], member, generation=generation, told=chance.choice((None, 40, 48)))
                assert one.add(sample, global_batch=40) == other.add(sample, global_batch=40)
    assert one.unheard == other.unheard

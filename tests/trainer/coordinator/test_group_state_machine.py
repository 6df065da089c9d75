"""Who is in the group, decided without a clock or a socket: losses, silence, joins, and what must never happen."""

from __future__ import annotations

import functools
import itertools
import random
from typing import Any, TypeVar

import pytest

from motley.trainer.coordinator.membership.group_changes import Boundary, Broken, Formed, Gone, Holding, News, Ready
from motley.trainer.coordinator.membership.group_state_machine import GroupStateMachine
from tests.support.counting import calls

STORE = ("10.0.0.1", 4711)
N = TypeVar("N", bound=News)


ATTEMPTS = itertools.count()


def ready(step: int, member: int = 0) -> Ready:
    return Ready(step=step, store=(f"10.0.0.{member}", 4711), attempt=next(ATTEMPTS))


def formed(members: int = 3, **options: Any) -> GroupStateMachine:
    """A state machine whose first group trains, at time 0."""
    machine = GroupStateMachine(range(members), **{"lost_after_s": 1.5, **options})
    for member in range(members):
        machine.connected(member, now=0.0)
        machine.ready(member, ready(0, member), now=0.0)
    machine.take_news()
    return machine


def only(news: list[News], kind: type[N]) -> list[N]:
    return [one for one in news if isinstance(one, kind)]


def test_the_first_group_waits_for_everybody() -> None:
    machine = GroupStateMachine([0, 1, 2], lost_after_s=1.5)
    for member in (2, 0):
        machine.connected(member, now=0.0)
        machine.ready(member, ready(0, member), now=1.0)
    assert machine.take_news() == []
    assert machine.missing == [1]
    machine.connected(1, now=1.0)
    machine.ready(1, ready(0, 1), now=2.0)
    assert machine.take_news() == [Formed(generation=0, members=(0, 1, 2), store=("10.0.0.0", 4711), source=0, step=0)]


def test_a_lost_member_breaks_the_group_and_the_others_go_on_from_the_newest_step() -> None:
    machine = formed()
    machine.lost(1)
    assert machine.take_news() == [Gone(member=1, cause="lost"), Broken(generation=0, members=(0, 2))]
    machine.ready(0, ready(41), now=5.0)
    assert machine.take_news() == []
    machine.ready(2, ready(42, 2), now=5.1)
    assert machine.take_news() == [Formed(generation=1, members=(0, 2), store=("10.0.0.0", 4711), source=1, step=42)]


def test_the_first_member_can_be_lost_as_well() -> None:
    machine = formed()
    machine.lost(0)
    for member in (1, 2):
        machine.ready(member, ready(7, member), now=5.0)
    (group,) = only(machine.take_news(), Formed)
    assert (group.members, group.store) == ((1, 2), ("10.0.0.1", 4711))


def test_a_collective_that_broke_waits_for_silence_to_say_who_is_lost() -> None:
    machine = formed()
    for member in (0, 1):
        machine.beat(member, step=9, arrived=10, now=10.0)
    machine.ready(0, ready(9), now=10.1)
    assert machine.take_news() == [Broken(generation=0, members=(0, 1, 2))]
    machine.ready(1, ready(9, 1), now=10.2)
    for now in (10.3, 10.6, 10.9, 11.2, 11.5):
        machine.tick(now)
        for member in (0, 1):
            machine.beat(member, step=9, arrived=10, now=now)
    assert only(machine.take_news(), Gone) == [Gone(member=2, cause="lost")]
    assert machine.group == (0, 1)
    assert machine.running


def test_a_group_that_broke_without_a_loss_is_formed_again_as_it_was() -> None:
    machine = formed(2)
    machine.ready(0, ready(3), now=1.0)
    machine.ready(1, ready(3, 1), now=1.1)
    assert [type(news) for news in machine.take_news()] == [Broken, Formed]
    assert machine.generation == 1


def test_silence_is_a_loss_after_the_time_given_and_not_before() -> None:
    machine = formed()
    for now in (0.3, 0.6, 0.9, 1.2, 1.5):
        machine.tick(now)
        for member in (0, 2):
            machine.beat(member, step=1, arrived=1, now=now)
    assert machine.take_news() == []
    machine.tick(1.6)
    assert machine.take_news()[0] == Gone(member=1, cause="lost")


def test_when_the_coordinator_itself_was_held_up_nobody_is_lost() -> None:
    machine = formed()
    machine.tick(0.1)
    machine.tick(20.0)
    assert machine.take_news() == []
    for now in (20.3, 20.6, 20.9, 21.2, 21.4):
        machine.tick(now)
    assert machine.take_news() == []
    machine.tick(21.6)
    assert len(only(machine.take_news(), Gone)) == 3


def test_whoever_comes_back_joins_at_the_end_of_a_step_with_the_state_of_another() -> None:
    machine = formed()
    machine.lost(2)
    for member in (0, 1):
        machine.ready(member, ready(10, member), now=1.0)
    machine.take_news()
    machine.connected(2, now=2.0)
    machine.ready(2, ready(-1, 2), now=2.5)
    assert machine.take_news() == [Boundary(member=0)]
    machine.ready(1, ready(15, 1), now=3.0)
    machine.ready(0, ready(15), now=3.1)
    group = only(machine.take_news(), Formed)[0]
    assert (group.members, group.step, group.source) == ((0, 1, 2), 15, 0)
    assert machine.members[2].gone is None


def test_nobody_starts_anew_because_only_newcomers_are_left() -> None:
    machine = formed(2)
    machine.lost(0)
    machine.lost(1)
    machine.take_news()
    machine.connected(0, now=3.0)
    machine.ready(0, ready(-1), now=3.5)
    assert [type(n) for n in machine.take_news() if isinstance(n, Formed)] == []
    machine.connected(1, now=4.0)
    machine.ready(1, ready(33, 1), now=4.5)  # it was only cut off, and has its state
    (group,) = only(machine.take_news(), Formed)
    assert (group.members, group.source, group.step) == ((0, 1), 1, 33)


def test_below_the_least_number_the_run_waits_and_says_so_once() -> None:
    machine = formed(3, least=2)
    machine.lost(1)
    machine.lost(2)
    machine.ready(0, ready(5), now=1.0)
    news = machine.take_news()
    assert only(news, Holding) == [Holding(hosts=1, keeper=0)]
    assert only(news, Formed) == []
    machine.connected(2, now=2.0)
    machine.ready(2, ready(5, 2), now=2.0)
    assert only(machine.take_news(), Formed)[0].members == (0, 2)


def test_a_member_that_calls_again_has_let_go_of_its_group() -> None:
    machine = formed()
    machine.connected(1, now=4.0)
    assert machine.take_news() == [Broken(generation=0, members=(0, 1, 2))]
    for member in (0, 1, 2):
        machine.ready(member, ready(4, member), now=5.0)
    assert only(machine.take_news(), Formed)[0].members == (0, 1, 2)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_a_group_never_goes_back_behind_a_completed_step(seed: int) -> None:
    """Members train, are lost, come back with or without their state, in any order."""
    rng = random.Random(seed)
    machine = GroupStateMachine(range(4), lost_after_s=1.5)
    steps = dict.fromkeys(range(4), 0)
    alive: set[int] = set()
    told: dict[int, bool] = {}  # members that were told to let go, or have just called
    now = 0.0
    for _ in range(400):
        now += 0.1
        member = rng.randrange(4)
        roll = rng.random()
        if member not in alive and roll < 0.4:
            keeps = rng.random() < 0.5
            steps[member] = steps[member] if keeps or machine.generation < 0 else -1
            alive.add(member)
            machine.connected(member, now=now)
            told[member] = True
        elif member in alive and roll < 0.08 and machine.generation >= 0 and len(alive) > 1:
            alive.discard(member)
            told.pop(member, None)
            machine.lost(member)
        elif member in alive and told.pop(member, False):
            machine.ready(member, ready(steps[member], member), now=now)
        elif machine.running and set(machine.group) <= alive:
            newest = max(steps[m] for m in machine.group)
            for one in machine.group:
                steps[one] = newest + 1
        for news in machine.take_news():
            match news:
                case Formed(members=members, step=step, source=source):
                    assert set(members) <= alive
                    assert list(members) == sorted(members)
                    assert step == max(steps[m] for m in members) == steps[members[source]]
                    assert step >= 0
                    for one in members:
                        steps[one] = step
                case Broken(members=members):
                    told.update({m: True for m in members if m in alive})
                case Boundary(member=first):
                    told.update({m: True for m in machine.group if m in alive})
                    assert first == machine.group[0]
                case _:
                    pass


def test_a_loss_among_a_thousand_takes_ten_times_the_work_of_one_among_a_hundred() -> None:
    def rounds(machine: GroupStateMachine) -> None:
        members = len(machine.group)
        for round_ in range(10):
            now = 0.3 * (round_ + 1)
            for member in range(members - 1):
                machine.beat(member, step=round_, arrived=round_, now=now)
            machine.tick(now)
        assert only(machine.take_news(), Gone) == [Gone(member=members - 1, cause="lost")]

    few, many = (calls(functools.partial(rounds, formed(members))) for members in (100, 1000))
    assert many < 11 * few


def test_nobody_waits_for_who_was_let_in_until_it_is_ready() -> None:
    machine = formed(2)
    machine.admit(2, "box2")
    assert machine.missing == []
    assert machine.take_news() == []
    machine.connected(2, now=1.0)
    machine.lost(2)  # it went again before it was ready
    assert machine.take_news() == []
    machine.connected(2, now=2.0)
    machine.ready(2, ready(-1, 2), now=3.0)
    assert machine.take_news() == [Boundary(member=0)]
    for member in (0, 1):
        machine.ready(member, ready(20, member), now=4.0)
    (group,) = only(machine.take_news(), Formed)
    assert (group.members, group.source, group.step) == ((0, 1, 2), 0, 20)


def test_who_was_let_in_before_the_first_group_joins_right_after_it() -> None:
    machine = GroupStateMachine([0, 1], lost_after_s=1.5)
    machine.admit(2, "box2")
    for member in (2, 0, 1):
        machine.connected(member, now=0.0)
        machine.ready(member, ready(-1 if member == 2 else 0, member), now=1.0)
    news = machine.take_news()
    assert [group.members for group in only(news, Formed)] == [(0, 1)]
    assert news[-1] == Boundary(member=0)


def test_members_by_pairs_can_be_lost_in_any_order() -> None:
    for pair in itertools.permutations(range(4), 2):
        machine = formed(4)
        for member in pair:
            machine.lost(member)
        left = [m for m in range(4) if m not in pair]
        for member in left:
            machine.ready(member, ready(9, member), now=1.0)
        assert only(machine.take_news(), Formed)[0].members == tuple(left)

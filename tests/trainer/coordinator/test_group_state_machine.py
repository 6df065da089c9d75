"""Who is in the group, decided without a clock or a socket: losses, silence, joins, and what must never happen."""

from __future__ import annotations

import itertools
import random
import time
from typing import Any, TypeVar

import pytest

from trainer.news import Boundary, Broken, Formed, Gone, Holding, News, Ready
from trainer.regroups import Regroups
from trainer.roster import Roster

STORE = ("10.0.0.1", 4711)
N = TypeVar("N", bound=News)


ATTEMPTS = itertools.count()


def ready(step: int, member: int = 0) -> Ready:
    return Ready(step=step, store=(f"10.0.0.{member}", 4711), attempt=next(ATTEMPTS))


def formed(members: int = 3, **options: Any) -> Roster:
    """A roster whose first group trains, at time 0."""
    roster = Roster(range(members), **{"lost_after_s": 1.5, **options})
    for member in range(members):
        roster.connected(member, now=0.0)
        roster.ready(member, ready(0, member), now=0.0)
    roster.take_news()
    return roster


def only(news: list[News], kind: type[N]) -> list[N]:
    return [one for one in news if isinstance(one, kind)]


def test_the_first_group_waits_for_everybody() -> None:
    roster = Roster([0, 1, 2], lost_after_s=1.5)
    for member in (2, 0):
        roster.connected(member, now=0.0)
        roster.ready(member, ready(0, member), now=1.0)
    assert roster.take_news() == []
    assert roster.missing == [1]
    roster.connected(1, now=1.0)
    roster.ready(1, ready(0, 1), now=2.0)
    assert roster.take_news() == [Formed(generation=0, members=(0, 1, 2), store=("10.0.0.0", 4711), source=0, step=0)]


def test_a_lost_member_breaks_the_group_and_the_others_go_on_from_the_newest_step() -> None:
    roster = formed()
    roster.lost(1)
    assert roster.take_news() == [Gone(member=1, cause="lost"), Broken(generation=0, members=(0, 2))]
    roster.ready(0, ready(41), now=5.0)
    assert roster.take_news() == []
    roster.ready(2, ready(42, 2), now=5.1)
    assert roster.take_news() == [Formed(generation=1, members=(0, 2), store=("10.0.0.0", 4711), source=1, step=42)]


def test_the_first_member_can_be_lost_as_well() -> None:
    roster = formed()
    roster.lost(0)
    for member in (1, 2):
        roster.ready(member, ready(7, member), now=5.0)
    (group,) = only(roster.take_news(), Formed)
    assert (group.members, group.store) == ((1, 2), ("10.0.0.1", 4711))


def test_a_collective_that_broke_waits_for_silence_to_say_who_is_lost() -> None:
    roster = formed()
    for member in (0, 1):
        roster.beat(member, step=9, arrived=10, now=10.0)
    roster.ready(0, ready(9), now=10.1)
    assert roster.take_news() == [Broken(generation=0, members=(0, 1, 2))]
    roster.ready(1, ready(9, 1), now=10.2)
    for now in (10.3, 10.6, 10.9, 11.2, 11.5):
        roster.tick(now)
        for member in (0, 1):
            roster.beat(member, step=9, arrived=10, now=now)
    assert only(roster.take_news(), Gone) == [Gone(member=2, cause="lost")]
    assert roster.group == (0, 1)
    assert roster.training


def test_a_group_that_broke_without_a_loss_is_formed_again_as_it_was() -> None:
    roster = formed(2)
    roster.ready(0, ready(3), now=1.0)
    roster.ready(1, ready(3, 1), now=1.1)
    assert [type(news) for news in roster.take_news()] == [Broken, Formed]
    assert roster.generation == 1


def test_silence_is_a_loss_after_the_time_given_and_not_before() -> None:
    roster = formed()
    for now in (0.3, 0.6, 0.9, 1.2, 1.5):
        roster.tick(now)
        for member in (0, 2):
            roster.beat(member, step=1, arrived=1, now=now)
    assert roster.take_news() == []
    roster.tick(1.6)
    assert roster.take_news()[0] == Gone(member=1, cause="lost")


def test_when_the_coordinator_itself_was_held_up_nobody_is_lost() -> None:
    roster = formed()
    roster.tick(0.1)
    roster.tick(20.0)
    assert roster.take_news() == []
    for now in (20.3, 20.6, 20.9, 21.2, 21.4):
        roster.tick(now)
    assert roster.take_news() == []
    roster.tick(21.6)
    assert len(only(roster.take_news(), Gone)) == 3


def test_a_rank_that_others_wait_for_too_long_is_named_and_dropped() -> None:
    roster = formed(stuck_after_s=10.0)
    now = 0.0
    while now < 9.0:
        now += 0.3
        roster.tick(now)
        for member, arrived in ((0, 6), (1, 5), (2, 6)):
            roster.beat(member, step=5, arrived=arrived, now=now)
    assert roster.take_news() == []
    while now < 12.0:
        now += 0.3
        roster.tick(now)
        for member, arrived in ((0, 6), (1, 5), (2, 6)):
            roster.beat(member, step=5, arrived=arrived, now=now)
    assert only(roster.take_news(), Gone) == [Gone(member=1, cause="stuck")]


def test_whoever_comes_back_joins_at_the_end_of_a_step_with_the_state_of_another() -> None:
    roster = formed()
    roster.lost(2)
    for member in (0, 1):
        roster.ready(member, ready(10, member), now=1.0)
    roster.take_news()
    roster.connected(2, now=2.0)
    roster.ready(2, ready(-1, 2), now=2.5)
    assert roster.take_news() == [Boundary(member=0)]
    roster.ready(1, ready(15, 1), now=3.0)
    roster.ready(0, ready(15), now=3.1)
    group = only(roster.take_news(), Formed)[0]
    assert (group.members, group.step, group.source) == ((0, 1, 2), 15, 0)
    assert roster.seats[2].gone is None


def test_nobody_starts_anew_because_only_newcomers_are_left() -> None:
    roster = formed(2)
    roster.lost(0)
    roster.lost(1)
    roster.take_news()
    roster.connected(0, now=3.0)
    roster.ready(0, ready(-1), now=3.5)
    assert [type(n) for n in roster.take_news() if isinstance(n, Formed)] == []
    roster.connected(1, now=4.0)
    roster.ready(1, ready(33, 1), now=4.5)  # it was only cut off, and has its state
    (group,) = only(roster.take_news(), Formed)
    assert (group.members, group.source, group.step) == ((0, 1), 1, 33)


def test_nobody_is_stuck_just_because_it_has_not_said_how_far_it_is() -> None:
    roster = formed(stuck_after_s=10.0)
    roster.ready(0, ready(0), now=1000.0)  # on a clock that does not begin at 0
    for member in (1, 2):
        roster.ready(member, ready(0, member), now=1000.0)
    roster.beat(0, step=0, arrived=1, now=1000.1)
    roster.beat(1, step=-1, arrived=-1, now=1000.1)
    roster.take_news()
    roster.tick(1000.2)
    assert roster.take_news() == []


def test_below_the_least_number_the_run_waits_and_says_so_once() -> None:
    roster = formed(3, least=2)
    roster.lost(1)
    roster.lost(2)
    roster.ready(0, ready(5), now=1.0)
    news = roster.take_news()
    assert only(news, Holding) == [Holding(hosts=1, keeper=0)]
    assert only(news, Formed) == []
    roster.connected(2, now=2.0)
    roster.ready(2, ready(5, 2), now=2.0)
    assert only(roster.take_news(), Formed)[0].members == (0, 2)


def test_a_member_that_calls_again_has_let_go_of_its_group() -> None:
    roster = formed()
    roster.connected(1, now=4.0)
    assert roster.take_news() == [Broken(generation=0, members=(0, 1, 2))]
    for member in (0, 1, 2):
        roster.ready(member, ready(4, member), now=5.0)
    assert only(roster.take_news(), Formed)[0].members == (0, 1, 2)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_a_group_never_goes_back_behind_a_completed_step(seed: int) -> None:
    """Members train, are lost, come back with or without their state, in any order."""
    rng = random.Random(seed)
    roster = Roster(range(4), lost_after_s=1.5)
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
            steps[member] = steps[member] if keeps or roster.generation < 0 else -1
            alive.add(member)
            roster.connected(member, now=now)
            told[member] = True
        elif member in alive and roll < 0.08 and roster.generation >= 0 and len(alive) > 1:
            alive.discard(member)
            told.pop(member, None)
            roster.lost(member)
        elif member in alive and told.pop(member, False):
            roster.ready(member, ready(steps[member], member), now=now)
        elif roster.training and set(roster.group) <= alive:
            newest = max(steps[m] for m in roster.group)
            for one in roster.group:
                steps[one] = newest + 1
        for news in roster.take_news():
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
                    told.update({m: True for m in roster.group if m in alive})
                    assert first == roster.group[0]
                case _:
                    pass


def test_a_loss_among_a_thousand_costs_next_to_nothing() -> None:
    roster = formed(1000)
    began = time.process_time()
    for round_ in range(10):
        now = 0.3 * (round_ + 1)
        for member in range(999):
            roster.beat(member, step=round_, arrived=round_, now=now)
        roster.tick(now)
    lost = only(roster.take_news(), Gone)
    assert lost == [Gone(member=999, cause="lost")]
    assert time.process_time() - began < 1.0  # of 3 simulated seconds; a few hundredths here


def test_regroups_tell_one_record_a_host_and_change() -> None:
    regroups = Regroups({0: "box1", 1: "box2", 2: "box2", 3: "box3"})
    regroups.formed(0, (0, 1, 2, 3), 0)
    regroups.gone(1, "lost", 41)
    regroups.gone(2, "lost", 41)
    regroups.formed(1, (0, 3), 42)
    regroups.resumed(1, 2.1)
    regroups.resumed(1, 2.3)
    regroups.formed(2, (0, 1, 2, 3), 60)
    regroups.resumed(2, 0.4)
    assert regroups.records() == [
        {"cause": "lost", "host": "box2", "step_before": 42, "step_after": 42, "pause_s": 2.3},
        {"cause": "joined", "host": "box2", "step_before": 60, "step_after": 60, "pause_s": 0.4},
    ]


def test_a_lost_step_shows_in_the_record() -> None:
    regroups = Regroups({0: "box1", 1: "box2"})
    regroups.formed(0, (0, 1), 0)
    regroups.gone(1, "lost", 42)  # it had completed a step that nobody else has
    regroups.formed(1, (0,), 41)
    (record,) = regroups.records()
    assert record["step_before"] - record["step_after"] == 1


def test_members_by_pairs_can_be_lost_in_any_order() -> None:
    for pair in itertools.permutations(range(4), 2):
        roster = formed(4)
        for member in pair:
            roster.lost(member)
        left = [m for m in range(4) if m not in pair]
        for member in left:
            roster.ready(member, ready(9, member), now=1.0)
        assert only(roster.take_news(), Formed)[0].members == tuple(left)


def test_nobody_waits_for_who_was_let_in_until_it_is_ready() -> None:
    roster = formed(2)
    roster.admit(2, "box2")
    assert roster.missing == []
    assert roster.take_news() == []
    roster.connected(2, now=1.0)
    roster.lost(2)  # it went again before it was ready
    assert roster.take_news() == []
    roster.connected(2, now=2.0)
    roster.ready(2, ready(-1, 2), now=3.0)
    assert roster.take_news() == [Boundary(member=0)]
    for member in (0, 1):
        roster.ready(member, ready(20, member), now=4.0)
    (group,) = only(roster.take_news(), Formed)
    assert (group.members, group.source, group.step) == ((0, 1, 2), 0, 20)


def test_who_was_let_in_before_the_first_group_joins_right_after_it() -> None:
    roster = Roster([0, 1], lost_after_s=1.5)
    roster.admit(2, "box2")
    for member in (2, 0, 1):
        roster.connected(member, now=0.0)
        roster.ready(member, ready(-1 if member == 2 else 0, member), now=1.0)
    news = roster.take_news()
    assert [group.members for group in only(news, Formed)] == [(0, 1)]
    assert news[-1] == Boundary(member=0)

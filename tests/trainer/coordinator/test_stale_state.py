"""A run goes on under another coordinator: who is waited for, and whose state counts."""

from __future__ import annotations

from collections.abc import Iterable

from motley.trainer.contract.term import NO_TERM, Term
from motley.trainer.coordinator.membership.group_changes import Formed, Holding, Ready
from motley.trainer.coordinator.membership.group_state_machine import HOPE_S, GroupStateMachine
from motley.trainer.coordinator.membership.stale_state import State, counts, origin_of
from tests.trainer.coordinator.test_group_state_machine import only

BEFORE, NOW = Term(2), Term(3)


def under_another(
    expected: Iterable[int], term: Term = NOW, *, leader: str = "box2", keepers: Iterable[int] | None = None
) -> GroupStateMachine:
    machine = GroupStateMachine(
        range(4), lost_after_s=1.5, term=term, leader=leader, expected=expected, keepers=keepers
    )
    machine.tick(0.0)
    return machine


def comes(
    machine: GroupStateMachine,
    member: int,
    step: int,
    *,
    term: Term = BEFORE,
    leader: str = "box0",
    generation: int = 5,
    now: float = 0.1,
) -> None:
    machine.connected(member, now=now)
    where = (f"10.0.0.{member}", 4711)
    machine.ready(member, Ready(step=step, store=where, term=term, leader=leader, generation=generation), now=now)


def group(machine: GroupStateMachine) -> Formed:
    (formed,) = only(machine.take_news(), Formed)
    return formed


def signs_of_life(machine: GroupStateMachine, members: Iterable[int], until: float) -> None:
    for tenth in range(2, round(until * 10) + 1):
        for member in members:
            machine.beat(member, step=-1, arrived=-1, now=tenth / 10)
        machine.tick(tenth / 10)


def test_whoever_comes_soon_is_in_the_first_group_expected_or_not() -> None:
    machine = under_another(expected=[2])
    for member in (2, 0, 1):
        comes(machine, member, step=411)
    assert machine.take_news() == []
    comes(machine, 3, step=411, now=0.4)
    formed = group(machine)
    assert (formed.members, formed.step, formed.stale) == ((0, 1, 2, 3), 411, ())


def test_only_the_expected_are_waited_for_longer() -> None:
    machine = under_another(expected=[2, 3])
    comes(machine, 2, step=411)
    comes(machine, 0, step=411)
    signs_of_life(machine, [0, 2], until=HOPE_S + 1.0)
    assert machine.take_news() == []
    comes(machine, 3, step=411, now=HOPE_S + 1.0)
    assert group(machine).members == (0, 2, 3)


def test_the_hope_for_others_ends() -> None:
    machine = under_another(expected=[2])
    comes(machine, 2, step=411)
    signs_of_life(machine, [2], until=HOPE_S - 0.1)
    assert machine.take_news() == []
    signs_of_life(machine, [2], until=HOPE_S)
    assert group(machine).members == (2,)


def test_one_that_trained_on_elsewhere_takes_the_state_of_those_that_are_expected() -> None:
    machine = under_another(expected=[2, 3])
    comes(machine, 2, step=411)
    comes(machine, 3, step=410)
    comes(machine, 0, step=430, generation=6)  # in a group that the others were not in
    comes(machine, 1, step=412)  # it completed the last step of theirs
    formed = group(machine)
    assert (formed.members, formed.stale) == ((0, 1, 2, 3), (0,))
    assert (formed.members[formed.source], formed.step) == (1, 412)


def test_who_comes_late_remembers_what_the_new_coordinator_began_with_and_saves_the_run() -> None:
    machine = under_another(expected=[2])
    comes(machine, 2, step=411)
    signs_of_life(machine, [2], until=HOPE_S)
    assert group(machine).members == (2,)
    for member in (0, 1):
        comes(machine, member, step=411, now=1.1)
    comes(machine, 3, step=430, generation=6, now=1.1)  # of another line
    machine.lost(2)  # the only one with a newer state, before it let the others in
    formed = group(machine)
    assert (formed.members, formed.step, formed.stale) == ((0, 1, 3), 411, (3,))


def test_where_none_of_the_expected_has_a_state_that_of_the_others_counts() -> None:
    machine = under_another(expected=[2])
    comes(machine, 2, step=-1, term=NO_TERM, generation=-1)  # its process is new
    for member in (0, 1, 3):
        comes(machine, member, step=411)
    formed = group(machine)
    assert (formed.step, formed.stale) == (411, ())
    assert not only(machine.take_news(), Holding)


def test_the_line_of_a_state() -> None:
    mine, other = State(Term(2), "box0", 5, 411), State(Term(2), "box0", 6, 500)
    none = State(NO_TERM, "", -1, -1)

    def origin(trusted: list[State], others: list[State]) -> State | None:
        return origin_of(Term(3), "box2", trusted=trusted, others=others)

    assert origin([none], [State(Term(1), "box0", 9, 300), other]) == other
    assert origin([mine, mine._replace(step=410)], [other]) == mine
    assert origin([], [none]) is None
    assert counts(mine._replace(step=400), mine)
    assert counts(mine._replace(generation=4, step=380), mine)  # older, of the same line
    assert not counts(mine._replace(step=412), mine)
    assert not counts(other, mine)
    assert not counts(mine._replace(leader="box1", step=400), mine)


def test_what_a_leader_has_trained_since_it_was_named_counts_before_a_former_leaders_newer_step() -> None:
    """Its coordinator was replaced, so all hosts are expected, the former leader's too."""
    machine = under_another(expected=range(4), term=Term(1, 1), keepers=[2, 3])
    for member in (0, 1):
        comes(machine, member, step=700, term=Term(0, 1), leader="box0", generation=9)
    for member in (2, 3):
        comes(machine, member, step=650, term=Term(1), leader="box2", generation=5)
    formed = group(machine)
    assert (formed.members, formed.step, formed.stale) == ((0, 1, 2, 3), 650, (0, 1))


def test_a_leader_whose_coordinator_was_killed_before_its_first_group_goes_on_from_what_it_was_named_for() -> None:
    machine = under_another(expected=range(4), term=Term(1, 1), keepers=[2, 3])
    for member in (0, 1):
        comes(machine, member, step=700, term=Term(0, 1), leader="box0", generation=6)
    for member in (2, 3):
        comes(machine, member, step=411, term=Term(0), leader="box0", generation=5)
    formed = group(machine)
    assert (formed.step, formed.stale) == (411, (0, 1))


def test_of_two_leaders_that_were_named_at_once_the_one_that_was_named_again_keeps_its_steps() -> None:
    machine = under_another(expected=[2, 3], term=Term(2))
    for member, leader, step in ((1, "box1", 900), (2, "box2", 500), (3, "box2", 500)):
        comes(machine, member, step=step, term=Term(1), leader=leader, generation=7)
    comes(machine, 0, step=900, term=Term(1), leader="box1", generation=7)
    formed = group(machine)
    assert (formed.step, formed.stale) == (500, (0, 1))


def test_a_new_process_does_not_begin_anew_alone_where_others_may_have_finished() -> None:
    machine = under_another(expected=[0, 1, 2, 3], term=Term(0, 1), leader="box0")
    comes(machine, 1, step=-1, term=NO_TERM, generation=-1)
    for member in (0, 2, 3):  # nobody waits for them any longer
        machine.lost(member)
    assert Holding(hosts=1) in machine.take_news()
    comes(machine, 2, step=17, term=Term(0), generation=1, now=5.0)
    (formed,) = (news for news in machine.take_news() if isinstance(news, Formed))
    assert (formed.members, formed.step) == ((1, 2), 17)


def test_all_of_a_run_that_has_not_begun_begin_under_a_new_coordinator() -> None:
    machine = under_another(expected=[0, 1, 2, 3], term=Term(0, 1), leader="box0")
    for member in range(4):
        comes(machine, member, step=-1, term=NO_TERM, generation=-1)
    (formed,) = (news for news in machine.take_news() if isinstance(news, Formed))
    assert (formed.members, formed.step) == ((0, 1, 2, 3), -1)

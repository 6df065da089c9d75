"""A run goes on under another coordinator: who is waited for, and whose state counts."""

from __future__ import annotations

from collections.abc import Iterable

from tests.trainer.test_roster import only
from trainer.lineage import State, counts, origin_of
from trainer.news import Formed, Holding, Ready
from trainer.roster import HOPE_S, Roster


def under_another(expected: Iterable[int], term: int = 3) -> Roster:
    roster = Roster(range(4), lost_after_s=1.5, term=term, expected=expected)
    roster.tick(0.0)
    return roster


def comes(roster: Roster, member: int, step: int, *, term: int = 2, generation: int = 5, now: float = 0.1) -> None:
    roster.connected(member, now=now)
    where = (f"10.0.0.{member}", 4711)
    roster.ready(member, Ready(step=step, store=where, term=term, generation=generation), now=now)


def group(roster: Roster) -> Formed:
    (formed,) = only(roster.take_news(), Formed)
    return formed


def signs_of_life(roster: Roster, members: Iterable[int], until: float) -> None:
    for tenth in range(2, round(until * 10) + 1):
        for member in members:
            roster.beat(member, step=-1, arrived=-1, now=tenth / 10)
        roster.tick(tenth / 10)


def test_whoever_comes_soon_is_in_the_first_group_expected_or_not() -> None:
    roster = under_another(expected=[2])
    for member in (2, 0, 1):
        comes(roster, member, step=411)
    assert roster.take_news() == []
    comes(roster, 3, step=411, now=0.4)
    formed = group(roster)
    assert (formed.members, formed.step, formed.stale) == ((0, 1, 2, 3), 411, ())


def test_only_the_expected_are_waited_for_longer() -> None:
    roster = under_another(expected=[2, 3])
    comes(roster, 2, step=411)
    comes(roster, 0, step=411)
    signs_of_life(roster, [0, 2], until=HOPE_S + 1.0)
    assert roster.take_news() == []
    comes(roster, 3, step=411, now=HOPE_S + 1.0)
    assert group(roster).members == (0, 2, 3)


def test_the_hope_for_others_ends() -> None:
    roster = under_another(expected=[2])
    comes(roster, 2, step=411)
    signs_of_life(roster, [2], until=HOPE_S - 0.1)
    assert roster.take_news() == []
    signs_of_life(roster, [2], until=HOPE_S)
    assert group(roster).members == (2,)


def test_one_that_trained_on_elsewhere_takes_the_state_of_those_that_are_expected() -> None:
    roster = under_another(expected=[2, 3])
    comes(roster, 2, step=411)
    comes(roster, 3, step=410)
    comes(roster, 0, step=430, generation=6)  # in a group that the others were not in
    comes(roster, 1, step=412)  # it completed the last step of theirs
    formed = group(roster)
    assert (formed.members, formed.stale) == ((0, 1, 2, 3), (0,))
    assert (formed.members[formed.source], formed.step) == (1, 412)


def test_who_comes_late_remembers_what_the_new_coordinator_began_with_and_saves_the_run() -> None:
    roster = under_another(expected=[2])
    comes(roster, 2, step=411)
    signs_of_life(roster, [2], until=HOPE_S)
    assert group(roster).members == (2,)
    for member in (0, 1):
        comes(roster, member, step=411, now=1.1)
    comes(roster, 3, step=430, generation=6, now=1.1)  # of another line
    roster.lost(2)  # the only one with a newer state, before it let the others in
    formed = group(roster)
    assert (formed.members, formed.step, formed.stale) == ((0, 1, 3), 411, (3,))


def test_where_none_of_the_expected_has_a_state_that_of_the_others_counts() -> None:
    roster = under_another(expected=[2])
    comes(roster, 2, step=-1, term=-1, generation=-1)  # its process is new
    for member in (0, 1, 3):
        comes(roster, member, step=411)
    formed = group(roster)
    assert (formed.step, formed.stale) == (411, ())
    assert not only(roster.take_news(), Holding)


def test_the_line_of_a_state() -> None:
    mine, other = State(2, 5, 411), State(2, 6, 500)
    assert origin_of(trusted=[State(-1, -1, -1)], others=[State(1, 9, 300), other]) == other
    assert origin_of(trusted=[mine, State(2, 5, 410)], others=[other]) == mine
    assert origin_of(trusted=[], others=[State(-1, -1, -1)]) is None
    assert counts(State(2, 5, 400), mine)
    assert not counts(State(2, 5, 412), mine)
    assert not counts(other, mine)

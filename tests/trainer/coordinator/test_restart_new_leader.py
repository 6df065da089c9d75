"""A script under a new leader: on whom it is started anew, and who is waited for."""

from __future__ import annotations

from motley.trainer.contract.term import Term
from motley.trainer.coordinator.membership.restart_state_machine import (
    RETURN_S,
    Over,
    RestartStateMachine,
    Started,
    Trouble,
)
from tests.trainer.coordinator.test_restart_state_machine import HOSTS, pass_time, ready


def test_a_new_leader_starts_it_anew_on_those_that_are_left_and_goes_on_counting() -> None:
    machine = RestartStateMachine(HOSTS, lost_after_s=1.5, restarts=3, term=Term(1), expected=[1, 2])
    assert machine.missing == [1, 2]
    for member in (1, 2):
        machine.connected(member, now=0.0)
        ready(machine, member, now=0.0, generation=1)
    pass_time(machine, 0.0, RETURN_S, alive=(1, 2))
    (start,) = machine.take_news()
    assert isinstance(start, Started)
    assert (start.generation, start.members, start.pause_s) == (2, (1, 2), None)
    assert start.why == (Trouble(member=0, cause="lost"),)
    over = RestartStateMachine(HOSTS, lost_after_s=1.5, restarts=1, term=Term(1), expected=[1])
    over.connected(1, now=0.0)
    ready(over, 1, now=0.0, generation=1)
    pass_time(over, 0.0, RETURN_S, alive=(1,))
    assert [type(news) for news in over.take_news()] == [Over]


def test_a_new_leader_waits_for_those_of_whom_nobody_had_heard_when_it_was_named() -> None:
    machine = RestartStateMachine(HOSTS, lost_after_s=1.5, restarts=3, term=Term(1), expected=[2])
    machine.connected(2, now=0.0)
    ready(machine, 2, now=0.0, generation=0)
    pass_time(machine, 0.0, RETURN_S - 1.0, alive=(2,))
    machine.connected(1, now=RETURN_S - 1.0)
    pass_time(machine, RETURN_S - 1.0, RETURN_S - 0.5, alive=(1, 2))
    assert machine.take_news() == []
    ready(machine, 1, now=RETURN_S - 0.5, generation=0)
    pass_time(machine, RETURN_S - 0.5, RETURN_S, alive=(1, 2))
    (start,) = machine.take_news()
    assert isinstance(start, Started)
    assert (start.members, start.why) == ((1, 2), (Trouble(member=0, cause="lost"),))


def test_a_new_leader_waits_for_nobody_once_all_are_there() -> None:
    machine = RestartStateMachine(HOSTS, lost_after_s=1.5, restarts=3, term=Term(1), expected=[2])
    for member in (2, 1, 0):
        machine.connected(member, now=0.0)
        ready(machine, member, now=0.0, generation=0)
    (start,) = machine.take_news()
    assert isinstance(start, Started)
    assert (start.members, start.why) == ((0, 1, 2), ())


def test_a_new_leader_lets_a_call_that_was_broken_off_be_made_again() -> None:
    machine = RestartStateMachine(HOSTS, lost_after_s=1.5, restarts=3, term=Term(1), expected=[1, 2])
    machine.connected(2, now=0.0)
    ready(machine, 2, now=0.0, generation=0)
    machine.connected(1, now=0.0)
    machine.lost(1, now=0.5)
    machine.connected(1, now=1.0)
    ready(machine, 1, now=1.0, generation=0)
    pass_time(machine, 1.0, RETURN_S, alive=(1, 2))
    start = machine.take_news()[-1]
    assert isinstance(start, Started)
    assert (start.members, start.why) == ((1, 2), (Trouble(member=0, cause="lost"),))

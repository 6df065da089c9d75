"""When a script is started anew and when its run is over, decided without a clock or a socket."""

from __future__ import annotations

import itertools
import random
import signal

import pytest

from motley.trainer.coordinator.membership.group_changes import Broken, Gone, Holding, Ready
from motley.trainer.coordinator.membership.restart_state_machine import (
    LATE_S,
    RETURN_S,
    VERDICT_S,
    Late,
    Over,
    RestartStateMachine,
    Started,
    Trouble,
)

HOSTS = {0: "box0", 1: "box1", 2: "box2"}
NUMBERS = itertools.count()


def ready(machine: RestartStateMachine, *members: int, now: float, generation: int = -1) -> None:
    for member in members:
        there = Ready(step=0, store=(f"10.0.0.{member}", 29500), attempt=next(NUMBERS), generation=generation)
        machine.ready(member, there, now=now)


def started(restarts: int = 3, least: int = 1) -> RestartStateMachine:
    """A run of three hosts whose script was started on all of them, at time 0."""
    machine = RestartStateMachine(HOSTS, lost_after_s=1.5, restarts=restarts, least=least)
    for member in HOSTS:
        machine.connected(member, now=0.0)
    ready(machine, *HOSTS, now=0.0)
    assert machine.take_news() == [Started(generation=0, members=(0, 1, 2), store=("10.0.0.0", 29500))]
    return machine


def pass_time(machine: RestartStateMachine, begin: float, end: float, alive: tuple[int, ...]) -> None:
    now = begin
    while now < end:
        now = min(end, now + 0.25)
        for member in alive:
            machine.beat(member, now=now)
        machine.tick(now)


def test_the_first_start_waits_for_everybody() -> None:
    machine = RestartStateMachine(HOSTS, lost_after_s=1.5, restarts=3)
    for member in (0, 2):
        machine.connected(member, now=0.0)
        ready(machine, member, now=0.0)
    machine.tick(0.1)
    assert (machine.take_news(), machine.missing) == ([], [1])


def test_it_is_finished_when_every_rank_has_ended_well() -> None:
    machine = started()
    for member in (2, 0):
        machine.exited(member, 0, 0, now=5.0)
    assert machine.take_news() == []
    machine.exited(1, 0, 0, now=6.0)
    assert machine.take_news() == [Over(state="finished")]


def test_a_lost_host_ends_the_script_everywhere_and_the_others_start_it_anew() -> None:
    machine = started()
    machine.lost(1, now=10.0)
    assert machine.take_news() == [Gone(member=1), Broken(generation=0, members=(0, 2))]
    ready(machine, 0, 2, now=10.5)
    assert machine.take_news() == []  # it has a moment to come back
    pass_time(machine, 10.5, 10.0 + RETURN_S, alive=(0, 2))
    (start,) = machine.take_news()
    assert start == Started(
        generation=1, members=(0, 2), store=("10.0.0.0", 29500), why=(Trouble(member=1, cause="lost"),),
        pause_s=RETURN_S,
    )  # fmt: skip


def test_the_host_of_rank_0_can_be_lost_too() -> None:
    machine = started()
    machine.lost(0, now=10.0)
    ready(machine, 1, 2, now=10.5)
    pass_time(machine, 10.5, 10.0 + RETURN_S, alive=(1, 2))
    start = machine.take_news()[-1]
    assert isinstance(start, Started)
    assert (start.members, start.store) == ((1, 2), ("10.0.0.1", 29500))


def test_a_process_that_comes_back_at_once_is_part_of_the_next_start() -> None:
    machine = started()
    machine.lost(1, now=10.0)
    ready(machine, 0, 2, now=10.2)
    machine.connected(1, now=11.0)
    ready(machine, 1, now=11.0)
    start = machine.take_news()[-1]
    assert isinstance(start, Started)
    assert start.members == (0, 1, 2)


def test_a_host_that_is_back_later_waits_for_the_next_start() -> None:
    machine = started()
    machine.lost(1, now=10.0)
    ready(machine, 0, 2, now=10.5)
    pass_time(machine, 10.5, 13.0, alive=(0, 2))
    machine.take_news()
    machine.connected(1, now=60.0)
    ready(machine, 1, now=60.0, generation=0)
    assert machine.take_news() == []
    machine.exited(2, 1, -signal.SIGKILL, now=70.0)
    ready(machine, 0, 2, now=70.1, generation=1)
    start = machine.take_news()[-1]
    assert isinstance(start, Started)
    assert (start.generation, start.members) == (2, (0, 1, 2))


def test_silence_is_a_loss_and_a_held_up_coordinator_is_not() -> None:
    machine = started()
    pass_time(machine, 0.0, 1.5, alive=(0, 2))
    assert machine.take_news() == []
    pass_time(machine, 1.5, 1.75, alive=(0, 2))
    assert machine.take_news()[0] == Gone(member=1)
    machine = started()
    machine.tick(0.1)
    machine.tick(20.0)
    assert machine.take_news() == []


def test_a_script_that_fails_by_itself_ends_the_run_once_it_is_known_that_nobody_is_lost() -> None:
    """The others fail after it, and NCCL may abort them."""
    machine = started()
    machine.exited(2, 0, 3, now=10.0)
    machine.exited(0, 0, 1, now=10.1)
    machine.exited(1, 0, -signal.SIGABRT, now=10.2)
    pass_time(machine, 10.0, 11.5 + VERDICT_S - 0.1, alive=(0, 1, 2))
    assert machine.take_news() == []
    pass_time(machine, 11.5 + VERDICT_S - 0.1, 11.5 + VERDICT_S, alive=(0, 1, 2))
    assert machine.take_news() == [Over(state="failed", root=2, code=3)]


@pytest.mark.parametrize("loss", ["silent", "reset", "killed"])
def test_scripts_that_fail_because_of_a_loss_are_not_to_blame(loss: str) -> None:
    """Their collectives break before anybody knows of the loss."""
    machine = started()
    machine.exited(0, 0, 1, now=10.0)
    machine.exited(1, 0, 1, now=10.0)
    if loss == "reset":
        machine.lost(2, now=10.4)
    elif loss == "killed":
        machine.exited(2, 0, -signal.SIGKILL, now=10.4)
    for state in machine.members.values():
        state.heard = 9.9
    pass_time(machine, 9.9, 12.0, alive=(0, 1) if loss == "silent" else (0, 1, 2))
    news = machine.take_news()
    assert any(isinstance(one, Broken) for one in news)
    assert not any(isinstance(one, Over) for one in news)


def test_a_rank_that_crashes_first_is_a_reason_to_start_anew() -> None:
    machine = started()
    machine.exited(1, 0, -signal.SIGSEGV, now=10.0)
    assert machine.take_news() == [Broken(generation=0, members=(0, 1, 2))]
    ready(machine, 0, 1, 2, now=10.1)
    start = machine.take_news()[0]
    assert isinstance(start, Started)
    assert start.why == (Trouble(member=1, cause="killed", signal=signal.SIGSEGV),)


def test_a_host_whose_script_has_ended_well_is_not_missed() -> None:
    machine = started()
    machine.exited(1, 0, 0, now=10.0)
    machine.lost(1, now=11.0)
    assert machine.take_news() == []
    machine.exited(0, 0, 0, now=12.0)
    machine.exited(2, 0, 0, now=12.0)
    assert machine.take_news() == [Over(state="finished")]


def test_what_is_said_of_an_earlier_start_does_not_count() -> None:
    machine = started()
    machine.lost(1, now=10.0)
    machine.exited(0, 0, -signal.SIGTERM, now=10.1)  # as it was told to
    ready(machine, 0, 2, now=10.5)
    pass_time(machine, 10.5, 13.0, alive=(0, 2))
    machine.take_news()
    machine.exited(0, 0, 1, now=13.1)
    pass_time(machine, 13.0, 20.0, alive=(0, 2))
    assert machine.take_news() == []


def test_no_more_restarts_than_asked_for() -> None:
    machine = started(restarts=1)
    machine.exited(1, 0, -signal.SIGKILL, now=10.0)
    ready(machine, 0, 1, 2, now=10.1)
    machine.take_news()
    machine.lost(2, now=20.0)
    assert machine.take_news() == [
        Gone(member=2), Over(state="failed", why=(Trouble(member=2, cause="lost"),))
    ]  # fmt: skip
    ready(machine, 0, 1, now=20.1)
    pass_time(machine, 20.0, 30.0, alive=(0, 1))
    assert machine.take_news() == []


def test_those_that_do_not_end_after_another_has_are_named_once() -> None:
    machine = started()
    pass_time(machine, 0.0, 10.0, alive=(0, 1, 2))
    machine.exited(1, 0, 0, now=10.0)
    pass_time(machine, 10.0, 9.0 + LATE_S, alive=(0, 1, 2))
    assert machine.take_news() == []
    pass_time(machine, 9.0 + LATE_S, 200.0 + LATE_S, alive=(0, 1, 2))
    assert machine.take_news() == [Late(members=(0, 2))]
    machine.exited(0, 0, 0, now=200.0 + LATE_S)
    machine.exited(2, 0, 0, now=200.0 + LATE_S)
    assert machine.take_news() == [Over(state="finished")]


def test_too_few_hosts_wait_for_others() -> None:
    machine = started(least=3)
    machine.lost(1, now=10.0)
    ready(machine, 0, 2, now=10.5)
    pass_time(machine, 10.5, 20.0, alive=(0, 2))
    assert machine.take_news()[-1] == Holding(hosts=2)
    machine.connected(1, now=30.0)
    ready(machine, 1, now=30.0)
    start = machine.take_news()[-1]
    assert isinstance(start, Started)
    assert start.members == (0, 1, 2)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_starts_are_counted_up_and_of_those_that_are_there(seed: int) -> None:
    """Random losses, returns, exits and silence: never two starts of one number, none beyond the bound, one end."""
    chance = random.Random(seed)
    machine = started(restarts=5)
    there, last, overs, now = set(HOSTS), 0, 0, 0.0
    waiting: set[int] = set()
    for _ in range(300):
        now += 0.25
        match chance.choice(["tick"] * 6 + ["lose", "return", "exit", "ready", "ready"]):
            case "lose" if there:
                member = chance.choice(sorted(there))
                there.discard(member)
                waiting.discard(member)
                machine.lost(member, now=now)
            case "return" if len(there) < 3:
                member = chance.choice(sorted(set(HOSTS) - there))
                there.add(member)
                machine.connected(member, now=now)
                waiting.add(member)
            case "exit" if there:
                code = chance.choice([0, 1, -signal.SIGKILL, -signal.SIGSEGV])
                machine.exited(chance.choice(sorted(there)), machine.generation, code, now=now)
            case "ready" if waiting:
                ready(machine, waiting.pop(), now=now)
        for member in there:
            machine.beat(member, now=now)
        machine.tick(now)
        for news in machine.take_news():
            assert overs == 0, "nothing after the end"
            if isinstance(news, Started):
                assert news.generation == last + 1
                last = news.generation
                assert set(news.members) <= there
                waiting -= set(news.members)
            elif isinstance(news, Broken):
                waiting |= set(news.members) & there
            elif isinstance(news, Over):
                overs += 1
    assert last <= 5

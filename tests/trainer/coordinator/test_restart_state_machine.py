"""When a script is started anew and when its run is over, decided without a clock or a socket."""

from __future__ import annotations

import itertools
import random
import signal

import pytest

from trainer.attempts import RETURN_S, VERDICT_S, Attempts, Gone, Holding, LetGo, Over, Started, Trouble
from trainer.news import Ready

HOSTS = {0: "box0", 1: "box1", 2: "box2"}
NUMBERS = itertools.count()


def ready(attempts: Attempts, *members: int, now: float, generation: int = -1) -> None:
    for member in members:
        there = Ready(step=0, store=(f"10.0.0.{member}", 29500), attempt=next(NUMBERS), generation=generation)
        attempts.ready(member, there, now=now)


def started(restarts: int = 3, least: int = 1) -> Attempts:
    """A run of three hosts whose script was started on all of them, at time 0."""
    attempts = Attempts(HOSTS, lost_after_s=1.5, restarts=restarts, least=least)
    for member in HOSTS:
        attempts.connected(member, now=0.0)
    ready(attempts, *HOSTS, now=0.0)
    assert attempts.take_news() == [Started(generation=0, members=(0, 1, 2), store=("10.0.0.0", 29500))]
    return attempts


def pass_time(attempts: Attempts, begin: float, end: float, alive: tuple[int, ...]) -> None:
    now = begin
    while now < end:
        now = min(end, now + 0.25)
        for member in alive:
            attempts.beat(member, now=now)
        attempts.tick(now)


def test_the_first_start_waits_for_everybody() -> None:
    attempts = Attempts(HOSTS, lost_after_s=1.5, restarts=3)
    for member in (0, 2):
        attempts.connected(member, now=0.0)
        ready(attempts, member, now=0.0)
    attempts.tick(0.1)
    assert (attempts.take_news(), attempts.missing) == ([], [1])


def test_it_is_finished_when_every_rank_has_ended_well() -> None:
    attempts = started()
    for member in (2, 0):
        attempts.exited(member, 0, 0, now=5.0)
    assert attempts.take_news() == []
    attempts.exited(1, 0, 0, now=6.0)
    assert attempts.take_news() == [Over(state="finished")]


def test_a_lost_host_ends_the_script_everywhere_and_the_others_start_it_anew() -> None:
    attempts = started()
    attempts.lost(1, now=10.0)
    assert attempts.take_news() == [Gone(member=1), LetGo(generation=0, members=(0, 2))]
    ready(attempts, 0, 2, now=10.5)
    assert attempts.take_news() == []  # it has a moment to come back
    pass_time(attempts, 10.5, 10.0 + RETURN_S, alive=(0, 2))
    (start,) = attempts.take_news()
    assert start == Started(
        generation=1, members=(0, 2), store=("10.0.0.0", 29500), why=(Trouble(member=1, cause="lost"),),
        pause_s=RETURN_S,
    )  # fmt: skip


def test_the_host_of_rank_0_can_be_lost_too() -> None:
    attempts = started()
    attempts.lost(0, now=10.0)
    ready(attempts, 1, 2, now=10.5)
    pass_time(attempts, 10.5, 10.0 + RETURN_S, alive=(1, 2))
    start = attempts.take_news()[-1]
    assert isinstance(start, Started)
    assert (start.members, start.store) == ((1, 2), ("10.0.0.1", 29500))


def test_a_process_that_comes_back_at_once_is_part_of_the_next_start() -> None:
    attempts = started()
    attempts.lost(1, now=10.0)
    ready(attempts, 0, 2, now=10.2)
    attempts.connected(1, now=11.0)
    ready(attempts, 1, now=11.0)
    start = attempts.take_news()[-1]
    assert isinstance(start, Started)
    assert start.members == (0, 1, 2)


def test_a_host_that_is_back_later_waits_for_the_next_start() -> None:
    attempts = started()
    attempts.lost(1, now=10.0)
    ready(attempts, 0, 2, now=10.5)
    pass_time(attempts, 10.5, 13.0, alive=(0, 2))
    attempts.take_news()
    attempts.connected(1, now=60.0)
    ready(attempts, 1, now=60.0, generation=0)
    assert attempts.take_news() == []
    attempts.exited(2, 1, -signal.SIGKILL, now=70.0)
    ready(attempts, 0, 2, now=70.1, generation=1)
    start = attempts.take_news()[-1]
    assert isinstance(start, Started)
    assert (start.generation, start.members) == (2, (0, 1, 2))


def test_silence_is_a_loss_and_a_held_up_coordinator_is_not() -> None:
    attempts = started()
    pass_time(attempts, 0.0, 1.5, alive=(0, 2))
    assert attempts.take_news() == []
    pass_time(attempts, 1.5, 1.75, alive=(0, 2))
    assert attempts.take_news()[0] == Gone(member=1)
    attempts = started()
    attempts.tick(0.1)
    attempts.tick(20.0)
    assert attempts.take_news() == []


def test_a_script_that_fails_by_itself_ends_the_run_once_it_is_known_that_nobody_is_lost() -> None:
    """The others fail after it, and NCCL may abort them."""
    attempts = started()
    attempts.exited(2, 0, 3, now=10.0)
    attempts.exited(0, 0, 1, now=10.1)
    attempts.exited(1, 0, -signal.SIGABRT, now=10.2)
    pass_time(attempts, 10.0, 11.5 + VERDICT_S - 0.1, alive=(0, 1, 2))
    assert attempts.take_news() == []
    pass_time(attempts, 11.5 + VERDICT_S - 0.1, 11.5 + VERDICT_S, alive=(0, 1, 2))
    assert attempts.take_news() == [Over(state="failed", root=2, code=3)]


@pytest.mark.parametrize("loss", ["silent", "reset", "killed"])
def test_scripts_that_fail_because_of_a_loss_are_not_to_blame(loss: str) -> None:
    """Their collectives break before anybody knows of the loss."""
    attempts = started()
    attempts.exited(0, 0, 1, now=10.0)
    attempts.exited(1, 0, 1, now=10.0)
    if loss == "reset":
        attempts.lost(2, now=10.4)
    elif loss == "killed":
        attempts.exited(2, 0, -signal.SIGKILL, now=10.4)
    for seat in attempts.seats.values():
        seat.heard = 9.9
    pass_time(attempts, 9.9, 12.0, alive=(0, 1) if loss == "silent" else (0, 1, 2))
    news = attempts.take_news()
    assert any(isinstance(one, LetGo) for one in news)
    assert not any(isinstance(one, Over) for one in news)


def test_a_rank_that_crashes_first_is_a_reason_to_start_anew() -> None:
    attempts = started()
    attempts.exited(1, 0, -signal.SIGSEGV, now=10.0)
    assert attempts.take_news() == [LetGo(generation=0, members=(0, 1, 2))]
    ready(attempts, 0, 1, 2, now=10.1)
    start = attempts.take_news()[0]
    assert isinstance(start, Started)
    assert start.why == (Trouble(member=1, cause="killed", signal=signal.SIGSEGV),)


def test_a_host_whose_script_has_ended_well_is_not_missed() -> None:
    attempts = started()
    attempts.exited(1, 0, 0, now=10.0)
    attempts.lost(1, now=11.0)
    assert attempts.take_news() == []
    attempts.exited(0, 0, 0, now=12.0)
    attempts.exited(2, 0, 0, now=12.0)
    assert attempts.take_news() == [Over(state="finished")]


def test_what_is_said_of_an_earlier_start_does_not_count() -> None:
    attempts = started()
    attempts.lost(1, now=10.0)
    attempts.exited(0, 0, -signal.SIGTERM, now=10.1)  # as it was told to
    ready(attempts, 0, 2, now=10.5)
    pass_time(attempts, 10.5, 13.0, alive=(0, 2))
    attempts.take_news()
    attempts.exited(0, 0, 1, now=13.1)
    pass_time(attempts, 13.0, 20.0, alive=(0, 2))
    assert attempts.take_news() == []


def test_no_more_restarts_than_asked_for() -> None:
    attempts = started(restarts=1)
    attempts.exited(1, 0, -signal.SIGKILL, now=10.0)
    ready(attempts, 0, 1, 2, now=10.1)
    attempts.take_news()
    attempts.lost(2, now=20.0)
    assert attempts.take_news() == [
        Gone(member=2), Over(state="failed", why=(Trouble(member=2, cause="lost"),))
    ]  # fmt: skip
    ready(attempts, 0, 1, now=20.1)
    pass_time(attempts, 20.0, 30.0, alive=(0, 1))
    assert attempts.take_news() == []


def test_too_few_hosts_wait_for_others() -> None:
    attempts = started(least=3)
    attempts.lost(1, now=10.0)
    ready(attempts, 0, 2, now=10.5)
    pass_time(attempts, 10.5, 20.0, alive=(0, 2))
    assert attempts.take_news()[-1] == Holding(hosts=2)
    attempts.connected(1, now=30.0)
    ready(attempts, 1, now=30.0)
    start = attempts.take_news()[-1]
    assert isinstance(start, Started)
    assert start.members == (0, 1, 2)


def test_a_new_leader_starts_it_anew_on_those_that_are_left_and_goes_on_counting() -> None:
    attempts = Attempts(HOSTS, lost_after_s=1.5, restarts=3, term=1, expected=[1, 2])
    assert attempts.missing == [1, 2]
    for member in (1, 2):
        attempts.connected(member, now=0.0)
        ready(attempts, member, now=0.0, generation=1)
    (start,) = attempts.take_news()
    assert isinstance(start, Started)
    assert (start.generation, start.members, start.pause_s) == (2, (1, 2), None)
    assert start.why == (Trouble(member=0, cause="lost"),)
    over = Attempts(HOSTS, lost_after_s=1.5, restarts=1, term=1, expected=[1])
    over.connected(1, now=0.0)
    ready(over, 1, now=0.0, generation=1)
    assert [type(news) for news in over.take_news()] == [Over]


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_starts_are_counted_up_and_of_those_that_are_there(seed: int) -> None:
    """Random losses, returns, exits and silence: never two starts of one number, none beyond the bound, one end."""
    chance = random.Random(seed)
    attempts = started(restarts=5)
    there, last, overs, now = set(HOSTS), 0, 0, 0.0
    waiting: set[int] = set()
    for _ in range(300):
        now += 0.25
        match chance.choice(["tick"] * 6 + ["lose", "return", "exit", "ready", "ready"]):
            case "lose" if there:
                member = chance.choice(sorted(there))
                there.discard(member)
                waiting.discard(member)
                attempts.lost(member, now=now)
            case "return" if len(there) < 3:
                member = chance.choice(sorted(set(HOSTS) - there))
                there.add(member)
                attempts.connected(member, now=now)
                waiting.add(member)
            case "exit" if there:
                code = chance.choice([0, 1, -signal.SIGKILL, -signal.SIGSEGV])
                attempts.exited(chance.choice(sorted(there)), attempts.generation, code, now=now)
            case "ready" if waiting:
                ready(attempts, waiting.pop(), now=now)
        for member in there:
            attempts.beat(member, now=now)
        attempts.tick(now)
        for news in attempts.take_news():
            assert overs == 0, "nothing after the end"
            if isinstance(news, Started):
                assert news.generation == last + 1
                last = news.generation
                assert set(news.members) <= there
                waiting -= set(news.members)
            elif isinstance(news, LetGo):
                waiting |= set(news.members) & there
            elif isinstance(news, Over):
                overs += 1
    assert last <= 5

"""A group that breaks again and again before a step, though nobody is lost: it is tried less often, then given up."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from pathlib import Path

import pytest

from motley.trainer.coordinator.membership import vain_groups
from motley.trainer.coordinator.membership.group_changes import Formed, InVain, News
from motley.trainer.coordinator.membership.group_state_machine import GroupStateMachine
from motley.trainer.coordinator.membership.vain_groups import LONGEST_PAUSE_S, VainGroups
from motley.trainer.rank.coordinator_client import CoordinatorClient
from motley.trainer.rank.coordinator_connection import JoinError
from tests.trainer.coordinating import coordinating, dial, events, spec, summary
from tests.trainer.coordinator.test_group_state_machine import formed, ready

WHY = "Duplicate GPU detected (ncclInvalidUsage)"


def again(machine: GroupStateMachine, step: int, now: float, why: str = "") -> None:
    """Both let go of the group, and are ready for the next."""
    for member in (0, 1):
        machine.ready(member, dataclasses.replace(ready(step, member), broke=why), now=now)


def tried(machine: GroupStateMachine, until: float) -> tuple[list[float], list[InVain]]:
    """Every group breaks at once at step 0: when each was formed, and what is said of it."""
    now, times, said = 0.0, list[float](), list[InVain]()
    while now < until:
        if machine.running:
            times.append(now)
            again(machine, 0, now, WHY)
        now = round(now + 0.1, 1)
        machine.tick(now)
        for member in (0, 1):
            machine.beat(member, step=0, arrived=-1, now=now)
        news: list[News] = machine.take_news()
        said += [one for one in news if isinstance(one, InVain)]
    return times, said


def test_it_is_tried_less_and_less_often_and_said_once() -> None:
    times, said = tried(formed(2), 60.0)
    pauses = [round(two - one, 1) for one, two in itertools.pairwise(times)]
    assert pauses[:8] == [0.1, 0.1, 0.3, 0.5, 1.0, 2.0, 4.0, 5.0]
    assert set(pauses[8:]) == {LONGEST_PAUSE_S}
    assert said == [InVain(groups=3, step=0, keeper=0, why=WHY)]
    assert said[0].text == f"the group broke 3 times in a row at step 0, though no rank was lost: {WHY}"


def test_after_the_time_that_others_are_waited_for_no_group_is_formed_any_more() -> None:
    machine = formed(2, hold_s=20.0)
    times, said = tried(machine, 60.0)
    assert 20.0 - LONGEST_PAUSE_S < times[-1] <= 20.1
    assert [one.over for one in said[:2]] == [False, True]
    assert not machine.running


def test_a_step_or_a_loss_begins_the_count_anew() -> None:
    machine = formed(2)
    for step in range(20):  # a group a step, each of which breaks after it
        again(machine, step, 1.0 + step / 10)
    assert not any(isinstance(one, InVain) for one in machine.take_news())
    assert machine.running
    vain = VainGroups(bound_s=0.0)
    for generation, members in enumerate([(0, 1, 2), (0, 1), (0, 1, 2), (0, 1)] * 3):
        vain.formed(members, step=7)
        assert vain.wait(members[:-1], step=7, generation=generation, now=float(generation)) == 0.0
        assert not vain.enough(1e9)


@pytest.mark.parametrize("least", [1, 2])
def test_a_loss_is_no_group_in_vain(least: int) -> None:
    """With all hosts needed it waits for the one that is lost each time, and with one, that is back before the other
    has let go."""
    machine, said = formed(2, least=least), list[InVain]()
    for attempt in range(20):
        now = 60.0 * attempt
        machine.lost(1)
        machine.connected(1, now=now)
        for member in (1, 0):
            machine.ready(member, ready(7, member), now=now)
        said += [one for one in machine.take_news() if isinstance(one, InVain)]
        assert machine.group == (0, 1)
    assert said == []


def test_the_reason_is_that_of_the_member_that_saw_it_first() -> None:
    machine, said = formed(2), list[InVain]()
    for _ in range(3):
        for member, why in ((1, WHY), (0, "Socket closed")):  # rank 0 is told to let go
            machine.ready(member, dataclasses.replace(ready(0, member), broke=why), now=1.0)
        said += [one for one in machine.take_news() if isinstance(one, InVain)]
    assert [one.why for one in said] == [WHY]


def test_a_link_that_comes_back_ends_the_pauses() -> None:
    machine = formed(2)
    times, _ = tried(machine, 12.0)
    assert times[-1] == 8.0
    for now in (12.4, 12.7, 13.0):
        machine.tick(now)
    machine.take_news()
    assert machine.running
    for member in (0, 1):
        machine.beat(member, step=1, arrived=1, now=13.1)
    again(machine, 1, 13.2)
    (group,) = [one for one in machine.take_news() if isinstance(one, Formed)]
    assert group.step == 1
    assert machine.running


def test_groups_that_last_for_minutes_are_tried_ten_times() -> None:
    """A step may take that long, and a network may fail in three of them."""
    vain, ends = VainGroups(bound_s=120.0), list[bool]()
    for generation in range(10):
        vain.formed((0, 1), step=40)
        vain.wait((0, 1), step=40, generation=generation, now=100.0 * generation)
        ends.append(vain.enough(100.0 * generation))
    assert ends == [False] * 9 + [True]


async def test_the_run_ends_with_the_words_of_the_rank_that_saw_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vain_groups, "LEAST", 3)
    given = spec(2)
    given = dataclasses.replace(given, elastic=dataclasses.replace(given.elastic, hold_s=0.0))
    saved: list[bool] = []

    def life(line: CoordinatorClient) -> str:
        generation, why = -1, ""
        while True:
            try:
                group = line.ready(
                    times={}, store=("127.0.0.1", 1), step=0, generation=generation, broke=why, save=saved.append
                )
            except JoinError as error:
                return str(error)
            generation, why = group.generation, WHY
            line.joined()

    async with coordinating(given, tmp_path):
        lines = [await asyncio.to_thread(dial, given, member) for member in (0, 1)]
        ends = await asyncio.gather(*(asyncio.to_thread(life, line) for line in lines))
    text = f"times in a row at step 0, though no rank was lost: {WHY}"
    assert all(text in end for end in ends)
    table = summary(tmp_path)
    assert table["state"] == "failed"
    assert f"{text}. motley run --resume night goes on" in table["cause"]
    assert len(events(tmp_path, "group")) < 6


@pytest.mark.parametrize("step", [0, 40])
def test_the_first_two_follow_at_once(step: int) -> None:
    vain = VainGroups(bound_s=120.0)
    for generation, wait_s in enumerate((0.0, 0.0, 0.25, 0.5)):
        vain.formed((0, 1), step=step)
        assert vain.wait((0, 1), step=step, generation=generation, now=9.0) == wait_s
        assert vain.wait((0, 1), step=step, generation=generation, now=9.0) == wait_s  # asked again
    assert vain.wait((0, 1), step=step, generation=3, now=9.3) == pytest.approx(0.2)

"""`regroups` of summary.json is of the whole run, also when other hosts lead it since."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from motley.trainer.contract.generation import Group
from motley.trainer.contract.run_changes import Lead
from motley.trainer.contract.spec import Spec
from motley.trainer.contract.term import FIRST, Term
from motley.trainer.coordinator.membership import group_state_machine
from motley.trainer.coordinator.regroup_log import MOST, Past, RegroupLog
from motley.trainer.coordinator.task_coordinator import TaskCoordinator
from motley.trainer.host.leader import follow
from motley.trainer.rank.coordinator_client import CoordinatorClient
from motley.trainer.supervisor.coordinator_socket import listen
from tests.trainer.coordinating import BOUND_S, dial, spec, summary, until

HOSTS = {0: "box0", 1: "box1", 2: "box2"}


class Ranks:
    """One rank a host, over real sockets; each keeps what it was told in the last group."""

    def __init__(self, given: Spec) -> None:
        self.given = given
        self.lines: dict[int, CoordinatorClient] = {}
        self.groups: dict[int, Group] = {}
        self.waiting: dict[int, asyncio.Future[Group]] = {}  # for the end of a step
        self.step = 0

    async def come(self, *members: int) -> None:
        for member in members:
            self.lines[member] = await asyncio.to_thread(dial, self.given, member)

    async def come_back(self, member: int) -> None:
        """A new process there is ready, and the others hear of it."""
        first = self.lines[min(self.lines)]
        first.boundary = False
        await self.come(member)
        self.waiting[member] = self._ready(member)
        async with until(lambda: first.boundary):
            pass

    def lose(self, member: int) -> None:
        self.lines.pop(member).close()
        del self.groups[member]

    async def form(self, *members: int, pauses: int) -> None:
        """A group of these, which makes ten steps; until each host knows of so many pauses."""
        readies = [self.waiting.pop(m) if m in self.waiting else self._ready(m) for m in members]
        groups = await asyncio.wait_for(asyncio.gather(*readies), BOUND_S)
        assert {group.members for group in groups} == {members}
        self.groups = dict(zip(members, groups))
        for member in members:
            self.lines[member].joined()
            if pauses:
                self.lines[member].resumed(groups[0].generation, 0.5 + groups[0].generation)
        self.step += 10
        async with until(lambda: all(paused(self.lines[member]) == pauses for member in members)):
            pass

    def _ready(self, member: int) -> asyncio.Future[Group]:
        last = self.groups.get(member)
        said: dict[str, Any] = {} if last is None else {"term": last.term, "leader": last.leader}
        said |= {"generation": -1 if last is None else last.generation, "step": -1 if last is None else self.step}
        if not self.step:
            said["step"] = 0
        ready = asyncio.to_thread(self.lines[member].ready, times={}, store=("127.0.0.1", 1), **said)
        return asyncio.ensure_future(ready)


def paused(line: CoordinatorClient) -> int:
    """How many pauses its host knows of."""
    return sum(pause_s is not None for *_, pause_s in (line._regroups or {"records": []})["records"])


class Leaders:
    """One coordinator after another, at the same address, each with the folder of its host."""

    def __init__(self, given: Spec, folder: Path) -> None:
        self.given, self.folder = given, folder
        self.task: asyncio.Task[None] | None = None

    async def change(self, host: str, term: Term, hosts: tuple[str, ...]) -> None:
        """The one before is gone."""
        await self.end()
        folder = self.folder / host
        folder.mkdir(exist_ok=True)
        mine = dataclasses.replace(self.given, host=host)
        if term > FIRST:
            lead = Lead(term=term, leader=host, address="127.0.0.1", port=mine.port, hosts=hosts)
            assert follow(folder, mine, lead)
        self.listener = listen("127.0.0.1", mine.port)
        self.listener.setblocking(False)
        self.task = asyncio.create_task(TaskCoordinator(mine, folder, goodbye_s=0.2).run(self.listener))

    async def end(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.listener.close()


async def test_one_entry_a_fault_in_a_run_with_three_changes_of_leader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """box2 is lost and comes back; box0, which leads, is lost; it comes back; box1 is; then the coordinator alone."""
    monkeypatch.setattr(group_state_machine, "HOPE_S", 0.1)  # nobody comes of those that are hoped for
    given = spec(3)
    ranks, leaders = Ranks(given), Leaders(given, tmp_path)
    try:
        await leaders.change("box0", FIRST, ())
        await ranks.come(0, 1, 2)
        await ranks.form(0, 1, 2, pauses=0)
        ranks.lose(2)
        await ranks.form(0, 1, pauses=1)
        await ranks.come_back(2)
        await ranks.form(0, 1, 2, pauses=2)

        ranks.lose(0)
        await leaders.change("box1", Term(1), ("box1", "box2"))
        await ranks.form(1, 2, pauses=3)
        await ranks.come_back(0)
        await ranks.form(0, 1, 2, pauses=4)

        ranks.lose(1)
        await leaders.change("box2", Term(2), ("box0", "box2"))
        await ranks.form(0, 2, pauses=5)

        await leaders.change("box2", Term(2, 1), ("box0", "box2"))
        await ranks.form(0, 2, pauses=6)
        for line in ranks.lines.values():
            line.ended("finished")
        assert leaders.task is not None
        await asyncio.wait_for(leaders.task, BOUND_S)
    finally:
        await leaders.end()
        for line in ranks.lines.values():
            line.close()
    table = summary(tmp_path / "box2")["regroups"]
    assert [(r["cause"], r["host"], r["step_before"], r["step_after"], r["pause_s"]) for r in table] == [
        ("lost", "box2", 10, 10, 1.5),
        ("joined", "box2", 20, 20, 2.5),
        ("lost", "box0", 30, 30, 3.5),
        ("joined", "box0", 40, 40, 4.5),
        ("lost", "box1", 50, 50, 5.5),
        ("coordinator", "box2", 60, 60, 6.5),
    ]


def test_who_was_away_before_a_new_leader_came_is_not_lost_once_more() -> None:
    before = RegroupLog(HOSTS)
    before.formed(0, (0, 1, 2), 0)
    before.gone(2, "stuck", 41)
    before.formed(1, (0, 1), 41)
    after = RegroupLog(HOSTS, Past.of(before.past().to_table()))
    after.taken_over((1,), "box1", 60)
    after.formed(2, (1,), 60)
    after.resumed(2, 3.0)  # of the generation before no step was made, as far as is known
    assert [(r["cause"], r["host"], r["pause_s"]) for r in after.records()] == [
        ("stuck", "box2", 3.0),
        ("lost", "box0", 3.0),
    ]
    assert after.told(2) == "box0 lost at step 60: went on after 3.0 s"


def test_a_loss_that_broke_a_group_before_its_leader_was_lost_too_is_settled_by_the_next() -> None:
    before = RegroupLog(HOSTS)
    before.formed(0, (0, 1, 2), 0)
    before.gone(2, "lost", 41)
    after = RegroupLog(HOSTS, before.past())
    after.taken_over((1,), "box1", 40)
    after.formed(1, (1,), 40)
    assert [(r["cause"], r["host"], r["step_before"], r["step_after"]) for r in after.records()] == [
        ("lost", "box2", 41, 40),
        ("lost", "box0", 40, 40),
    ]


def test_what_is_handed_on_is_bounded_and_the_newest() -> None:
    regroups = RegroupLog(HOSTS)
    for step in range(MOST + 5):
        regroups.formed(2 * step, (0, 1), step)
        regroups.gone(1, "lost", step)
        regroups.formed(2 * step + 1, (0,), step)
    past = Past.of(regroups.past().to_table())
    assert len(past.records) == MOST
    assert past.records[-1] == regroups.records()[-1]


@pytest.mark.parametrize(
    "table",
    [
        [],
        {},
        {"records": {}, "hosts": []},
        {"records": [], "hosts": "box0"},
        {"records": [[]], "hosts": []},
        {"records": [["lost", "box1", 1, 1]], "hosts": []},
        {"records": [["sunk", "box1", 1, 1, 1.0]], "hosts": []},
        {"records": [["lost", ["box1"], 1, 1, 1.0]], "hosts": []},
        {"records": [["lost", "b" * 1000, 1, 1, 1.0]], "hosts": []},
        {"records": [["lost", "box1", None, 1, 1.0]], "hosts": []},
        {"records": [["lost", "box1", 1, 1.5, 1.0]], "hosts": []},
        {"records": [["lost", "box1", 1, 1, float("nan")]], "hosts": []},
        {"records": [["lost", "box1", 1, 1, 1.0]] * (MOST + 1), "hosts": []},
        {"records": [], "hosts": [7]},
        {"records": [[["lost"], "box1", 1, 1, 1.0]], "hosts": []},
    ],
)
def test_what_a_member_tells_of_regroups_is_looked_at(table: Any) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Past.of(table)


def test_regroups_tell_one_record_a_host_and_change() -> None:
    regroups = RegroupLog({0: "box1", 1: "box2", 2: "box2", 3: "box3"})
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
    regroups = RegroupLog({0: "box1", 1: "box2"})
    regroups.formed(0, (0, 1), 0)
    regroups.gone(1, "lost", 42)  # it had completed a step that nobody else has
    regroups.formed(1, (0,), 41)
    (record,) = regroups.records()
    assert record["step_before"] - record["step_after"] == 1

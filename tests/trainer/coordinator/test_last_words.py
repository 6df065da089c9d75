"""A coordinator that is killed while ranks say their last words: the one that follows knows that the run finished."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from motley.trainer.contract.spec import Spec
from motley.trainer.contract.term import FIRST
from motley.trainer.coordinator.last_words import FILE, LastWords
from motley.trainer.coordinator.regroup_log import RegroupLog
from motley.trainer.coordinator.task_coordinator import TaskCoordinator
from motley.trainer.host.leader import follow, lead_of, restarted
from motley.trainer.rank.coordinator_client import CoordinatorClient
from motley.trainer.rank.coordinator_connection import RunOver
from motley.trainer.supervisor.coordinator_socket import listen
from tests.trainer.coordinating import BOUND_S, all_in_a_group, coordinating, dial, events, ready, spec, summary

REPORT = {"steps": [[1, 96, 50.0, 0.9], [2, 96, 50.0, 0.7]], "batches": [[32, 32, 32], [32, 32, 32]], "epoch": 1}


@contextlib.asynccontextmanager
async def killed(given: Spec, folder: Path) -> AsyncIterator[None]:
    """A coordinator that is gone at the end, without a word; another is to follow."""
    with listen(given.leader_address, given.port) as listener:
        listener.setblocking(False)
        task = asyncio.create_task(TaskCoordinator(given, folder, goodbye_s=0.2).run(listener))
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    again = restarted(lead_of(folder, given), [f"box{m.member}" for m in given.members])
    assert follow(folder, given, again)


def ends(line: CoordinatorClient) -> asyncio.Task[None]:
    return asyncio.create_task(asyncio.to_thread(line.ended, "finished", heard_s=BOUND_S))


async def test_who_has_not_been_heard_says_it_to_the_next_who_knows_of_the_others(tmp_path: Path) -> None:
    given = spec(3)
    async with killed(given, tmp_path):
        lines = await all_in_a_group(given)
        lines[0].report(**REPORT)
        await asyncio.wait_for(ends(lines[0]), BOUND_S)
        before = summary(tmp_path)
    assert before["steps"] == 2
    late = [ends(line) for line in lines[1:]]
    async with coordinating(given, tmp_path):
        await asyncio.wait_for(asyncio.gather(*late), BOUND_S)
    after = summary(tmp_path)
    assert after["state"] == "finished"
    assert {host["state"] for host in after["hosts"]} == {"finished"}
    same = ("steps", "epochs", "samples", "final_loss", "samples_per_s", "phases")
    assert {key: after[key] for key in same} == {key: before[key] for key in same}
    assert not events(tmp_path, "holding")


async def test_when_all_were_heard_the_next_ends_the_run_at_once(tmp_path: Path) -> None:
    given = spec(2)
    async with killed(given, tmp_path):
        lines = await all_in_a_group(given)
        await asyncio.wait_for(ends(lines[1]), BOUND_S)
        # the last one is heard, and the coordinator is killed before it has seen that all are
        LastWords(tmp_path).keep(0)
    lines[0].close()  # its process has gone; while it lives it calls the next coordinator, which hears it out
    async with coordinating(given, tmp_path):
        pass
    assert summary(tmp_path)["state"] == "finished"


async def test_the_last_figures_are_told_again_where_the_next_coordinator_has_nothing(tmp_path: Path) -> None:
    """As when another host leads: nothing of the former one is on its disk."""
    given = spec(1)
    async with killed(given, tmp_path):
        (line,) = await all_in_a_group(given)
        line.report(**REPORT)
    for name in ("summary.json", FILE):
        (tmp_path / name).unlink(missing_ok=True)
    last = ends(line)
    async with coordinating(given, tmp_path):
        await asyncio.wait_for(last, BOUND_S)
    table = summary(tmp_path)
    assert (table["state"], table["steps"], table["samples"], table["final_loss"]) == ("finished", 2, 192, 0.7)


async def test_a_process_that_was_started_again_does_not_begin_a_run_that_others_have_finished(tmp_path: Path) -> None:
    given = dataclasses.replace(spec(2), elastic=dataclasses.replace(spec(2).elastic, hold_s=BOUND_S))
    async with killed(given, tmp_path):
        lines = await all_in_a_group(given)
        await asyncio.wait_for(ends(lines[0]), BOUND_S)
        lines[1].close()  # it is killed as well
    async with coordinating(given, tmp_path):
        anew = await asyncio.to_thread(dial, given, 1)
        anew.phase("importing torch")
        with pytest.raises(RunOver) as over:
            await asyncio.to_thread(anew.ready, times={}, store=("127.0.0.1", 1), step=-1)
        assert over.value.state == "finished"
        anew.close()
    assert summary(tmp_path)["state"] == "finished"


async def test_a_member_that_is_behind_makes_the_last_step_without_those_that_finished(tmp_path: Path) -> None:
    given = spec(2)
    async with killed(given, tmp_path):
        lines = await all_in_a_group(given)
        await asyncio.wait_for(ends(lines[0]), BOUND_S)
    async with coordinating(given, tmp_path):
        group = await asyncio.wait_for(ready(lines[1], term=FIRST, generation=0), BOUND_S)
        assert group.members == (1,)
        lines[1].joined()
        await asyncio.wait_for(ends(lines[1]), BOUND_S)
    assert summary(tmp_path)["state"] == "finished"


def test_what_is_kept_is_read_back_and_what_makes_no_sense_is_nobodys(tmp_path: Path) -> None:
    words, regroups = LastWords(tmp_path), RegroupLog({0: "box0", 1: "box1"})
    assert not words.of_former().members
    regroups.gone(1, "lost", step=41)
    words.keep(0, regroups=regroups.past(), reason="no better for 3 epochs")
    words.keep(2)
    with (tmp_path / FILE).open("a") as file:
        file.write('{"member": "3"}\n[]\n' + "[" * 5000 + '\n{"memb')
    known = words.of_former()
    assert (known.members, known.regroups, known.reason) == ({0, 2}, regroups.past(), "no better for 3 epochs")

"""Faults of a loop of the user's own on real ranks: none makes the others wait, or try again, for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from motley.trainer.api.run_join import Breaks
from motley.trainer.contract.generation import Group
from motley.trainer.errors import SessionError
from motley.trainer.host.exit_codes import Exit
from tests.trainer.api.sessions import running
from tests.trainer.api.test_session_groups import WHOLE, alone, loop, same
from tests.trainer.coordinating import events, summary

pytestmark = pytest.mark.ranks

MEMBER = 'os.environ["MOTLEY_MEMBER"]'
REFUSES = """
            from torch import distributed
            def refuses(*_, **__):
                raise ValueError("no such gradient")
            distributed.all_reduce = refuses"""


async def test_a_host_that_is_lost_while_a_session_leaves_ends_the_loop_of_those_that_are_left(tmp_path: Path) -> None:
    """Of two that are left one has heard that a third leaves, and one has seen the group break alone."""
    body = f"""if step.number == 6 and {MEMBER} == "0":
            from motley.trainer.api.ranks import GroupBroken
            def add_up(tensors, add_up=run._peers.ranks.add_up):
                add_up(tensors)
                raise GroupBroken("another rank was lost")
            run._peers.ranks.add_up = add_up
        {WHOLE}"""
    after = f"""if step.number == 5 and {MEMBER} == "1":
        break
    if step.number == 6 and {MEMBER} == "2":
        os.kill(os.getpid(), 9)"""
    async with running(tmp_path, loop(body, after), members=3) as run:
        assert await run.codes() == [0, 0, -9], run.errors()
    assert run.told(1)["attempts"] == [[number, True] for number in range(1, 6)]
    assert run.told(0)["attempts"] == [*run.told(1)["attempts"], [6, False]]
    assert run.told(0)["weights"] == run.told(1)["weights"]
    table = summary(run.home(0))
    assert (table["state"], table["steps"]) == ("finished", 5)


@pytest.mark.parametrize("place", ["in a step", "between two"])
async def test_a_place_that_breaks_three_times_with_nobody_lost_fails_the_run(tmp_path: Path, place: str) -> None:
    refuses = f"""if step.number == 4 and {MEMBER} == "1":{REFUSES}
        """
    after = f"""if step.number == 4:
        {refuses}run.mean(1, 1)"""
    script = loop(refuses + WHOLE) if place == "in a step" else loop(WHOLE, after)
    for attempt in range(3):
        async with running(tmp_path / str(attempt), script, members=2) as run:
            codes = await run.codes()
        if (
            Exit.STUCK not in codes
        ):  # gloo wakes nobody whose peer has let go before it connects: rare, and started again
            break  # by its supervisor, which is not there here
    assert codes[1] == 1, run.errors()
    assert codes[0] not in (0, None)
    (fault,) = events(run.home(1), "fault")
    where = "step 4 broke 3 times" if place == "in a step" else "the group broke 3 times before step 5"
    assert fault["data"]["error"] == f"{where} although nobody was lost: ValueError: no such gradient"
    assert fault["data"]["remedy"].startswith("Look at what all ranks do")
    assert len(run.said(1, "step 4")) == (3 if place == "in a step" else 1)
    assert summary(run.home(0))["state"] == "failed"


@pytest.mark.parametrize(("after", "code", "state"), [("", 0, "finished"), ("raise RuntimeError('no')", 1, "failed")])
async def test_who_has_said_its_last_word_ends_with_it_though_its_supervisor_sees_the_end_first(
    tmp_path: Path, after: str, code: int, state: str
) -> None:
    """The coordinator ends on the last word; its supervisor then ends what still runs, by TERM."""
    body = f"""if step.number == 1:
            from motley.trainer.rank.coordinator_client import CoordinatorClient
            def told(self, state, ended=CoordinatorClient.ended, **how):
                ended(self, state, **how)
                os.kill(os.getpid(), 15)
            CoordinatorClient.ended = told
        {WHOLE}"""
    async with running(tmp_path, loop(body, after), members=1) as run:
        assert await run.codes() == [code], run.errors()
    assert summary(run.home(0))["state"] == state


def test_breaks_count_at_one_place_while_nobody_is_lost() -> None:
    breaks = Breaks()

    def at(step: int, *members: int, results: int = 0, on_purpose: bool = False) -> int:
        if not on_purpose:
            breaks.note("Connection closed by peer")
        group = Group(generation=0, rank=0, members=members, store=("127.0.0.1", 1))
        breaks.look(group, step, in_step=False, results=results)
        return breaks.count

    assert at(1, 0, 1, 2, on_purpose=True) == 0
    assert [at(1, 0, 1, 2), at(1, 0, 1, 2), at(1, 0, 1)] == [1, 2, 0]  # somebody was lost
    assert [at(1, 0, 1), at(1, 0, 1), at(1, 0, 1, 2, on_purpose=True)] == [1, 2, 0]  # somebody has come
    assert [at(5, 0, 1, 2), at(5, 0, 1, 2), at(5, 0, 1, 2, results=1), at(6, 0, 1, 2)] == [1, 2, 1, 1]
    assert at(6, 0, 1, 2) == 2
    with pytest.raises(SessionError, match="broke 3 times before step 6 although nobody was lost: Connection closed"):
        at(6, 0, 1, 2)


async def test_a_break_out_of_an_evaluation_is_a_failed_run_that_names_its_line(tmp_path: Path) -> None:
    after = f"""if step.number == 4:
        for _ in run.batches((data,), batch=4):
            if {MEMBER} == "1":
                break  # out of it
        run.mean(1, 1)"""
    async with running(tmp_path, loop(WHOLE, after), members=2) as run:
        codes = await run.codes()
        assert codes[1] == 1, run.errors()
        assert codes[0] not in (0, None)
    line = next(n for n, text in enumerate(run.script.read_text().splitlines(), 1) if "break  # out of it" in text)
    (fault,) = events(run.home(1), "fault")
    assert fault["data"]["error"] == f"train.py:{line}: the loop over run.batches is not at its end"
    assert summary(run.home(0))["state"] == "failed"


async def test_who_computes_for_long_after_a_break_is_not_taken_for_one_that_hangs(tmp_path: Path) -> None:
    """As if 30 s had passed: what asks whether it hangs is asked again and again while it computes, and lets it."""
    body = f"""if step.number == 6 and run.world_size == 2 and {MEMBER} == "0":
            import threading
            from motley.trainer.rank import coordinator_client
            client, asked, is_stuck = run._peers._me.client, threading.Event(), coordinator_client.is_stuck
            def stuck(stuck=client.stuck):
                stuck()
                asked.set()
            client.stuck = stuck
            coordinator_client.is_stuck = lambda *_, **__: True
            print("computes", flush=True)
            assert asked.wait(60)
            coordinator_client.is_stuck = is_stuck
        {WHOLE}"""
    async with running(tmp_path, loop(body), members=2) as run:
        await run.line(0, "computes")
        run.kill(1)
        assert await run.codes() == [0, -9], run.errors()
    assert same(run.told(0)["weights"], alone()[0])


async def test_a_run_that_is_stopped_while_a_rank_waits_for_a_group_is_left_at_once(tmp_path: Path) -> None:
    body = f"""if step.number == 6 and {MEMBER} == "0":
            print("waits", flush=True)
            import time
            while not run._peers._me.stop.asked:
                time.sleep(0.01)
        {WHOLE}"""
    async with running(tmp_path, loop(body), members=2) as run:
        await run.line(0, "waits")
        run.ranks[0].terminate()
        assert await run.codes() == [Exit.STOPPED, Exit.STOPPED], run.errors()


async def test_a_device_that_torch_can_not_use_is_told_on_one_line_before_the_first_step(tmp_path: Path) -> None:
    async with running(tmp_path, loop(WHOLE), members=2, devices=["cpu", "cuda:63"]) as run:
        assert (await run.codes())[1] == Exit.FAILED
    (fault,) = (event["data"] for member in range(2) for event in events(run.home(member), "fault"))
    assert fault["error"].endswith(f"can't use cuda:63: it sees {torch.cuda.device_count()} CUDA devices")
    assert fault["remedy"] == "Name the devices that a run shall use in devices of the host"
    (line,) = run.lines(1, "err")
    assert fault["error"] in line
    assert summary(run.home(0))["state"] == "failed"

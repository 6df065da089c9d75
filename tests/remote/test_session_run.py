"""A run of a script that calls `motley.session()` as consoles see it, on demo hosts: it is followed and changed as a
task's run is."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from typing import Any

import pytest

from motley.remote.errors import MotleyError, UsageError
from motley.remote.feed import Layout, LogLine
from motley.remote.session.session import Session
from tests.remote.session.test_follow_run import kill_supervisor, said, trains
from tests.remote.session.test_join_host import THREE, causes
from tests.remote.session_script import SCRIPT
from tests.remote.stage import HOSTS, Seen, Stage
from tests.remote.test_script_run import WAITS, cluster, events, project, says
from tests.support.proc import cmdline, process_file


async def launched(stage: Stage, run: str = "night", **how: Any) -> tuple[Session, Seen]:
    project(stage, SCRIPT)
    session = stage.session(run, seen := Seen(), cluster(stage, **how))
    await session.launch()
    await seen.further(5)
    return session, seen


@pytest.mark.long
async def test_a_host_joins_a_run_of_sessions_and_is_taken_out_of_it(stage: Stage) -> None:
    session, seen = await launched(stage)
    pids = {host: json.loads((stage.run_folder("night", host) / "state.json").read_text())["ranks"] for host in HOSTS}
    cluster(stage, hosts=THREE)
    joined = asyncio.ensure_future(seen.until(trains(2, generation=1)))
    await session.join("box2")
    await joined
    alone = asyncio.ensure_future(seen.until(trains(0, generation=2)))
    await session.drop("box2")
    await alone
    for host in HOSTS:
        state = json.loads((stage.run_folder("night", host) / "state.json").read_text())
        assert [rank["pid"] for rank in state["ranks"]] == [rank["pid"] for rank in pids[host]]
    ended = await session.stop("enough")
    assert (ended.state, ended.unanswered) == ("stopped", ())
    assert causes(ended.summary) == [("joined", "box2"), ("dropped", "box2")]
    assert ended.summary["steps"] > 5
    await session.close()
    assert len(events(seen, "session")) == 1
    assert events(seen, "restarted") == []
    assert stage.alive() == []


@pytest.mark.long
async def test_a_script_that_is_no_session_lets_nobody_in(stage: Stage) -> None:
    project(stage, WAITS.replace("while", "import signal\nwhile"))
    session = stage.session("night", seen := Seen(), cluster(stage))
    await session.launch()
    cluster(stage, hosts=THREE)
    with pytest.raises(MotleyError, match=r"not called motley\.session\(\), so its group can't change"):
        await session.join("box2")
    with pytest.raises(MotleyError, match="its group can't change: motley stop night"):
        await session.drop("box1")
    await session.stop("enough")
    await session.close()
    assert stage.alive() == []
    assert seen.last_steps() == {}


@pytest.mark.long
async def test_another_host_leads_sessions_when_the_leader_is_gone_and_it_comes_back(stage: Stage) -> None:
    session, seen = await launched(stage)
    kill_supervisor(stage, "box0")
    await seen.until(trains(1, generation=1))
    assert said(seen, "box0, which led the run, is gone: box1 leads it from now on")
    await seen.until(trains(0, generation=1))
    again = stage.session("night", found := Seen())
    await again.attach()
    await found.further(5)
    layout = next(record for record in found.records if isinstance(record, Layout))
    assert (layout.task, layout.script, layout.attached) == ("code/train.py", False, True)
    ended = await again.stop("enough")
    assert (ended.state, ended.unanswered) == ("stopped", ())
    await again.close()
    await session.close()
    assert events(seen, "restarted") == []
    assert stage.alive() == []


@pytest.mark.long
async def test_a_start_under_way_counts_from_the_first_session_for_who_leads_next(stage: Stage) -> None:
    """Its script was started anew before, so the number of its start is above that of the sessions' group."""
    first = 'import os, pathlib, signal\nmark = pathlib.Path(os.environ["MOTLEY_DIR"]) / "once"\n'
    first += 'if os.environ["MOTLEY_MEMBER"] == "1" and not mark.exists():\n'
    first += "    mark.touch()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    first += 'elif os.environ["MOTLEY_RESTART"] == "0":\n    signal.pause()\n'
    project(stage, first + SCRIPT)
    session = stage.session("night", seen := Seen(), cluster(stage))
    await session.launch()
    await seen.further(5)
    assert len(events(seen, "restarted")) == 1
    kill_supervisor(stage, "box0")
    await seen.until(trains(1, generation=1))
    assert said(seen, "box1 leads it from now on")
    await session.stop("enough")
    await session.close()
    assert stage.alive() == []


async def test_a_killed_session_is_started_again_and_joins(stage: Stage) -> None:
    session, seen = await launched(stage)
    scripts = [pid for pid in stage.alive() if b"\0train.py\0" in cmdline(pid)]
    (victim,) = [pid for pid in scripts if b"MOTLEY_HOST=box1" in environ(pid)]
    os.kill(victim, signal.SIGKILL)
    await seen.until(trains(1, generation=2))
    ended = await session.stop("enough")
    await session.close()
    assert causes(ended.summary) == [("lost", "box1"), ("joined", "box1")]
    (killed,) = events(seen, "rank_killed")
    assert killed.text == "rank 1: ended by signal 9; it is started again in 1 s"
    assert stage.alive() == []


def environ(pid: int) -> list[bytes]:
    return process_file(pid, "environ").split(b"\0")


@pytest.mark.long
async def test_a_run_of_sessions_is_resumed_and_no_other_script_s(stage: Stage) -> None:
    session, seen = await launched(stage, more="[balance]\nwindow = 9\n")
    await seen.further(20)  # a checkpoint at the tenth
    await session.stop("enough")
    await session.close()
    resumed = stage.session("next", again := Seen())
    going_on = asyncio.ensure_future(again.until(says("going on from")))
    await resumed.launch(resume="night")
    await going_on
    ended = await resumed.stop("enough")
    await resumed.close()
    assert ended.summary["resumed_from"] == "night"
    assert any(record.text.endswith("/runs/night/box0/checkpoints") for record in lines(again))
    assert not any("has no effect" in event.text for event in events(again, "note"))

    project(stage, "print('on my own')\n")
    with_none = stage.session("plain", plain := Seen())
    await with_none.launch(resume="night")
    await with_none.wait()
    await with_none.close()
    told = "the script did not call motley.session(): nothing went on from the checkpoint of --resume"
    assert said(plain, told)
    refused = stage.session("more", Seen())
    with pytest.raises(UsageError, match=r"'plain' has left no results, .* did not call motley\.session"):
        await refused.launch(resume="plain")
    await refused.close()
    assert stage.alive() == []


def lines(seen: Seen) -> list[LogLine]:
    return [record for record in seen.records if isinstance(record, LogLine)]

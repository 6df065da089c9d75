"""A run that can't start, or is broken off while it starts: said clearly, and nothing is left running anywhere."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from motley.remote.errors import CheckFailed, RunFailed, UsageError
from motley.remote.feed import Progress
from motley.trainer.contract.wire import Event
from tests.remote.stage import FOREVER, Seen, Stage


@pytest.fixture(autouse=True)
def new_hosts(stage: Stage) -> None:
    """They have never had our code."""
    stage.held = None


async def test_no_torch_on_one_host_starts_nothing_on_any(stage: Stage, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    cluster = stage.cluster(hosts={"box0": "", "box1": f'python = "{bare}/bin/python"'})
    session = stage.session("night", Seen(), cluster)
    with pytest.raises(CheckFailed, match="^box1: .*torch") as caught:
        await session.launch()
    assert [(f.host, f.check) for f in caught.value.findings] == [("box1", "torch")]
    await session.close()
    assert stage.alive() == []
    assert not (stage.folder / "experiments").exists()
    assert not list(stage.home.glob(".motley/demo/*/*/.motley/runs/*"))


async def test_what_the_hosts_can_t_share_is_a_finding(stage: Stage) -> None:
    cluster = stage.cluster(hosts={"box0": "max_batch = 100", "box1": "max_batch = 100"})
    session = stage.session("night", Seen(), cluster)
    with pytest.raises(CheckFailed, match=r"max_batch of all ranks together is 200, run\.global_batch is 256"):
        await session.launch()
    await session.close()
    assert not (stage.folder / "experiments").exists()


async def test_a_name_in_use_touches_neither_the_folder_nor_the_run(stage: Stage) -> None:
    """The second run of that name is refused, also when only the hosts know of the first; and the first goes on."""
    first = stage.session("night", seen := Seen(), stage.cluster())
    await first.launch()
    await seen.further(5)
    await first.close()
    before = stage.alive()
    for folder in ("here", "gone"):
        if folder == "gone":
            shutil.rmtree(stage.experiment("night"))
        other = stage.session("night", Seen())
        with pytest.raises(UsageError, match="--name"):
            await other.launch()
        await other.close()
        assert stage.experiment("night").exists() == (folder == "here")
    assert stage.alive() == before
    again = stage.session("night", watching := Seen())
    await again.attach()
    await watching.further(seen.last_steps()[0] + 5)
    await again.close()


@pytest.mark.parametrize("host", ["box0", "box1"])
async def test_one_host_that_can_t_start_stops_the_other(stage: Stage, host: str) -> None:
    session = stage.session("night", seen := Seen(), stage.cluster())
    with socket.socket() as taken:
        if host == "box0":  # the leader: somebody else takes its port after the check
            cause = f"can't listen on 127.0.0.1:{stage.port}"
        else:
            folder = session._hosts._reach.demo.folder / "box1" / ".motley" / "runs" / "night" / "box1"
            folder.parent.mkdir(parents=True)
            folder.write_text("in the way")
            cause = "Not a directory: .*/night/box1/lock"
        launching = asyncio.ensure_future(session.launch())
        await seen.until(lambda record: isinstance(record, Progress) and record.text.startswith("sending the trainer"))
        if host == "box0":
            taken.bind(("127.0.0.1", stage.port))
            taken.listen()
        with pytest.raises(RunFailed, match=f"^{host}: .*{cause}"):
            await launching
    await session.close()
    assert stage.alive() == []
    summary = stage.summary("night")
    assert (summary["state"], summary["cause"]) == ("failed", f"{host} could not start")
    failed = {r.host for r in seen.records if isinstance(r, Progress) and r.stage == "start" and r.failed}
    assert failed == {host}
    if host == "box0":
        with pytest.raises(UsageError, match="'night' was never started on box0, which leads it"):
            await stage.session("night", Seen()).attach()


@pytest.mark.parametrize("moment", ["starting ranks", "ranks started", "sending the trainer"])
async def test_a_start_broken_off_leaves_nothing(stage: Stage, moment: str) -> None:
    """Ctrl-C while the hosts start: also what was under way on them and answers only later is stopped."""
    seen = Seen()
    session = stage.session("night", seen, stage.cluster())
    launching = asyncio.ensure_future(session.launch())
    await seen.until(lambda record: isinstance(record, Progress) and record.text.startswith(moment))
    launching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await launching
    assert stage.alive() == []
    await session.close()
    if moment == "sending the trainer":
        assert not stage.experiment("night").exists()
    else:
        assert stage.summary("night")["cause"] == "the start was broken off"


async def test_no_checkpoint_to_go_on_from(stage: Stage) -> None:
    session = stage.session("new", Seen(), stage.cluster())
    stage.experiment("old").mkdir(parents=True)
    with pytest.raises(UsageError, match="no good checkpoint of 'old' in any of: box0, box1, "):
        await session.launch(resume="old")
    await session.close()
    assert stage.alive() == []
    assert not stage.experiment("new").exists()


async def test_a_name_to_go_on_from_that_nobody_knows_is_said_before_what_is_wrong_with_the_hosts(stage: Stage) -> None:
    first = stage.session("night", seen := Seen(), stage.cluster(steps=FOREVER))  # it has the port, too
    await first.launch()
    second = stage.session("new", seen := Seen())
    with pytest.raises(UsageError, match=r"--resume 'nigth': neither the hosts nor .* did you mean night\?"):
        await second.launch(resume="nigth")
    assert not any(isinstance(r, Progress) and r.stage == "push" for r in seen.records)
    await second.close()
    third = stage.session("new", Seen())
    with pytest.raises(CheckFailed, match="in use there by the run 'night'"):
        await third.launch(resume="night")
    await third.close()
    await first.stop("enough")
    await first.close()
    assert not stage.experiment("new").exists()


async def test_what_kept_a_restart_from_being_warm_is_in_the_run_s_events(stage: Stage) -> None:
    session = stage.session("new", seen := Seen(), stage.cluster(steps=5))
    await session.launch(why_cold="the code has changed")
    await session.wait()
    await session.close()
    text = "cold restart: the code has changed"
    assert [r.text for r in seen.records if isinstance(r, Event)].count(text) == 1
    lines = (stage.experiment("new") / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines].count(text) == 1


async def test_a_place_that_can_t_be_written_is_named_before_anything_starts(stage: Stage) -> None:
    (stage.folder / "experiments").write_text("a file")
    session = stage.session("new", Seen(), stage.cluster())
    with pytest.raises(UsageError, match="experiments/new can't be made: Not a directory"):
        await session.launch()
    await session.close()
    assert stage.alive() == []

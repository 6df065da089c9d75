"""Torch is imported while hosts are being checked: by supervisors that get their run later, or end without one."""

from __future__ import annotations

import asyncio
import os

import pytest

from motley.remote.errors import CheckFailed, UsageError
from motley.remote.preflight.host_inspection import HostInspection
from motley.remote.preflight.reachability import Rendezvous
from motley.trainer.bootstrap.code_trees import STAMP
from motley.trainer.host.paths import read_json
from tests.remote.stage import FOREVER, HOSTS, Seen, Stage, put


async def first_run(stage: Stage) -> None:
    """After it the hosts have our code."""
    session = stage.session("first", Seen(), stage.cluster(steps=3))
    await session.launch()
    await session.wait()
    await session.close()


async def test_supervisors_are_there_before_the_run_is(stage: Stage) -> None:
    await first_run(stage)
    session = stage.session("night", Seen(), stage.cluster(steps=FOREVER))
    await session.launch()
    for host in HOSTS:
        forks = read_json(stage.run_folder("night", host) / "state.json")["forks"]
        assert os.readlink(f"/proc/{forks}/fd/2") == os.devnull  # when it was started, there was no log of the run yet
    assert (await session.stop("enough")).unanswered == ()
    await session.close()
    assert stage.alive() == []


async def test_code_that_a_power_cut_has_damaged_is_sent_again(stage: Stage) -> None:
    """And where it was found right it is gone on with at once: its hosts were started again, too."""
    await first_run(stage)
    for host in HOSTS:
        code = stage.run_folder("first", host).parents[3] / stage.tree.folder
        put(code / STAMP, "the boot before\n")
        if host == list(HOSTS)[1]:
            put(code / "motley/trainer/supervisor/daemonize.py", "")
    session = stage.session("night", Seen(), stage.cluster(steps=3))
    await session.launch()
    errors = [
        os.readlink(f"/proc/{read_json(stage.run_folder('night', host) / 'state.json')['forks']}/fd/2")
        for host in HOSTS
    ]
    assert (await session.wait()).state == "finished"
    await session.close()
    assert errors[0] == os.devnull  # it was there before the run
    assert errors[1] != os.devnull


async def test_a_run_that_does_not_come_leaves_nothing(stage: Stage) -> None:
    await first_run(stage)
    again = stage.session("first", Seen(), stage.cluster(steps=3))
    (stage.experiment("first")).rename(stage.experiment("gone"))
    with pytest.raises(UsageError, match="had a run named 'first' already"):
        await again.launch()
    assert stage.alive() == []
    await again.close()
    wrong = stage.session("wrong", Seen(), stage.cluster(hosts={"box0": "max_batch = 1", "box1": "max_batch = 1"}))
    with pytest.raises(CheckFailed, match="max_batch"):
        await wrong.launch()
    assert stage.alive() == []
    await wrong.close()


async def test_a_start_that_is_broken_off_in_the_check_leaves_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await first_run(stage)
    prepared = asyncio.Event()
    attend = Rendezvous.attend

    async def slow(room: Rendezvous, host: HostInspection, name: str, address: str) -> None:
        prepared.set()
        await asyncio.sleep(60)
        await attend(room, host, name, address)

    monkeypatch.setattr(Rendezvous, "attend", slow)
    session = stage.session("night", Seen(), stage.cluster(steps=FOREVER))
    starting = asyncio.ensure_future(session.launch())
    await prepared.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert stage.alive() == []
    await session.close()

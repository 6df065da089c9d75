"""Runs in which the machine itself takes part (`connect = "local"`), in a home of the test's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from motley.remote.config.cluster import Cluster
from motley.remote.errors import HostError
from motley.remote.experiment.machines import recorded_machines
from motley.remote.feed import Link
from motley.remote.hosts import this_machine
from motley.remote.launch.warm_restart import Cold
from motley.remote.provision.push_code import Tree
from motley.remote.session import runs
from motley.trainer.contract.wire import Event
from tests.remote.conftest import know
from tests.remote.session.test_follow_run import said, trains
from tests.remote.sshd import Sshd
from tests.remote.stage import FOREVER, Seen, Stage, staged

LOCAL = 'connect = "local"'
BOTH = {"desk": LOCAL, "box1": ""}
OTHER = "0" * 64  # another machine


def cluster(stage: Stage, hosts: Mapping[str, str] = BOTH, steps: int = FOREVER) -> Cluster:
    return stage.cluster(hosts=hosts, steps=steps)


def state(stage: Stage, host: str = "desk") -> Any:
    """What the machine itself keeps of the run `night`."""
    return json.loads((folder(stage, host) / "state.json").read_text())


def folder(stage: Stage, host: str = "desk") -> Path:
    return stage.home / ".motley/runs/night" / host


def kill_supervisor(stage: Stage) -> None:
    os.kill(state(stage)["pid"], signal.SIGKILL)


async def test_it_runs_alone_and_ends(stage: Stage) -> None:
    session = stage.session("night", seen := Seen(), cluster(stage, {"desk": LOCAL}, steps=30))
    await session.launch()
    ended = await session.wait()
    await session.close()
    assert (ended.state, ended.summary["steps"]) == ("finished", 30)
    spec = json.loads((folder(stage) / "spec.json").read_text())
    assert (spec["leader"], spec["leader_address"], spec["emulated"]) == ("desk", "127.0.0.1", False)
    assert spec["machines"] == {"desk": this_machine.machine_id()} == recorded_machines(stage.experiment("night"))
    assert seen.last_steps() == {0: 30}
    session = stage.session("day", Seen(), cluster(stage, {"desk": LOCAL}, steps=5))  # our code is there by now
    await session.launch()
    assert (await session.wait()).state == "finished"
    await session.close()
    assert stage.alive() == []


async def test_it_leads_is_found_by_another_console_and_stopped(stage: Stage) -> None:
    session = stage.session("night", seen := Seen(), cluster(stage))
    await session.launch()
    await seen.further()
    await session.close()  # what follows the run ends, and the run goes on
    assert state(stage)["state"] == "running"
    await (again := stage.session("night", found := Seen())).attach()
    await found.further()
    ended = await again.stop("enough")
    await again.close()
    assert (ended.state, ended.unanswered) == ("stopped", ())
    assert stage.alive() == []


async def test_another_host_leads_it_and_it_comes_back_when_its_supervisor_was_killed(stage: Stage) -> None:
    session = stage.session("night", seen := Seen(), cluster(stage, {"box1": "", "desk": LOCAL}))
    await session.launch()
    await seen.further()
    kill_supervisor(stage)
    await seen.until(trains(1, generation=2))
    assert said(seen, "desk is back")
    await session.stop("enough")
    await session.close()
    assert stage.alive() == []


@pytest.mark.long
async def test_another_host_takes_its_place_as_leader(stage: Stage) -> None:
    session = stage.session("night", seen := Seen(), cluster(stage))
    await session.launch()
    await seen.further()
    kill_supervisor(stage)
    await seen.until(trains(1, generation=1))
    assert said(seen, "desk, which led the run, is gone: box1 leads it from now on")
    await seen.until(trains(0, generation=1))
    await session.stop("enough")
    await session.close()
    assert stage.alive() == []


async def test_ctrl_c_in_the_terminal_reaches_none_of_its_commands(stage: Stage) -> None:
    session = stage.session("night", seen := Seen(), cluster(stage))
    await session.launch()
    await seen.further()
    groups = {os.getpgid(pid) for pid in stage.alive()}
    children = [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    assert children  # what follows the run
    assert os.getpgrp() not in {*groups, *map(os.getpgid, children)}
    await session.stop("enough")
    await session.close()


@contextlib.contextmanager
def another_machine(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Another one with the same cluster.toml and experiments, which reaches the demo hosts as this one does."""
    home = stage.home / "another"
    (home / ".motley").mkdir(parents=True, exist_ok=True)
    (stage.home / ".motley/demo").mkdir(exist_ok=True)
    (home / ".motley/demo").symlink_to(stage.home / ".motley/demo")
    with monkeypatch.context() as patch:
        patch.setenv("HOME", str(home))
        for module in ("session.find_run", "session.away_hosts", "launch.resume_checkpoint", "hosts.this_machine"):
            patch.setattr(f"motley.remote.{module}.machine_id", lambda: OTHER)
        yield home


@pytest.mark.long
async def test_on_another_machine_the_others_are_followed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    session = stage.session("night", seen := Seen(), known := cluster(stage))
    await session.launch()
    await seen.further()
    with another_machine(stage, monkeypatch):
        told = await runs.status(known)
        assert [(row["run"], [host["name"] for host in row["hosts"]]) for row in told["runs"]] == [("night", ["box1"])]
        (silent,) = told["unreachable"]
        assert silent["cause"] == (
            'desk is the machine itself (connect = "local"): watch from there, or give it an address'
        )
        await (again := stage.session("night", found := Seen())).attach()
        assert said(found, str(silent["cause"]))
        await found.until(lambda record: isinstance(record, Link) and record.up)
        assert {record.host for record in found.records if isinstance(record, Link) and record.up} == {"box1"}
        await again.close()
        words: list[str] = []
        ended, over = await runs.stop(known, "night", "enough", words.append)
        assert words == [silent["cause"]]
        assert (ended.unanswered, over) == (("desk",), False)
    await session.stop("enough")
    await session.close()
    assert recorded_machines(stage.experiment("night")) == {"desk": this_machine.machine_id()}
    assert stage.alive() == []


async def test_on_another_machine_it_is_followed_over_ssh_by_its_address(
    make_sshd: Callable[..., Sshd], tmp_path: Path, stand_in: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    sshd = make_sshd()
    monkeypatch.setenv("HOME", str(sshd.home))
    async with staged(tmp_path, sshd.home, stand_in) as stage:
        way = f'address = "127.0.0.1"\nport = {sshd.port}\nuser = "{sshd.user}"\nidentity = "{sshd.user_key}"'
        desk = f'{LOCAL}\n{way}\npython = "{sys.executable}"'
        session = stage.session("night", seen := Seen(), known := cluster(stage, {"desk": desk, "box1": ""}))
        await session.launch()
        await seen.further()
        await session.close()
        with another_machine(stage, monkeypatch) as home:
            know(home, sshd)
            (row,) = (told := await runs.status(known))["runs"]
            assert [host["state"] for host in row["hosts"]] == ["running", "running"]
            assert "unreachable" not in told
            await (again := stage.session("night", found := Seen())).attach()
            await found.further()
            with pytest.raises(Cold, match="it was started on another machine"):
                await again.offer()
            ended = await again.stop("enough")
            assert (ended.state, ended.unanswered) == ("stopped", ())
            await again.close()
        assert stage.alive() == []


@pytest.mark.long
async def test_on_another_machine_a_run_that_it_led_is_over_when_the_others_say_so(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = stage.session("night", Seen(), cluster(stage, steps=5))
    await session.launch()
    await session.wait()
    await session.close()
    with another_machine(stage, monkeypatch):
        await (again := stage.session("night", Seen())).attach()
        ended = await asyncio.wait_for(again.wait(), 60)
        await again.close()
    assert [(host["name"], host["state"]) for host in ended.summary["hosts"]] == [
        ("desk", "lost"),
        ("box1", "finished"),
    ]
    assert stage.summary("night")["state"] == "finished"  # what was kept of it stays


async def test_a_run_that_goes_on_on_another_machine_says_what_is_not_looked_at(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = stage.session("night", Seen(), known := cluster(stage, {"box1": "", "desk": LOCAL}, steps=5))
    await session.launch()
    await session.wait()
    await session.close()
    with another_machine(stage, monkeypatch):
        again = stage.session("day", seen := Seen(), known)
        await again.launch(resume="night")
        await again.wait()
        await again.close()
        assert said(seen, "desk was another machine in 'night': what that one keeps is not looked at")
        assert recorded_machines(stage.experiment("day")) == {"desk": OTHER}
    assert stage.alive() == []


@pytest.mark.long
async def test_a_host_that_joins_may_be_the_machine_itself(stage: Stage) -> None:
    session = stage.session("night", seen := Seen(), cluster(stage, {"box1": ""}))
    await session.launch()
    await seen.until(trains(0, generation=0))
    cluster(stage, {"box1": "", "desk": LOCAL})
    await session.join("desk")
    await seen.until(trains(1, generation=1))
    assert recorded_machines(stage.experiment("night")) == {"desk": this_machine.machine_id()}
    assert await session.drop("desk")
    await session.stop("enough")
    await session.close()
    assert stage.alive() == []


@pytest.mark.long
async def test_alone_it_is_not_to_be_followed_from_another_machine(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = stage.session("night", Seen(), known := cluster(stage, {"desk": LOCAL}, steps=5))
    await session.launch()
    await session.wait()
    await session.close()
    with another_machine(stage, monkeypatch):
        with pytest.raises(HostError, match="desk is the machine itself"):
            await stage.session("night", Seen()).attach()
        assert [row["host"] for row in (await runs.status(known))["unreachable"]] == ["desk"]


async def test_its_environment_is_its_own(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "not for it")
    monkeypatch.setenv("PASSED", "for it")
    text = f'{LOCAL}\npass_env = ["PASSED"]\nenv = {{GIVEN = "too"}}'
    session = stage.session("night", seen := Seen(), cluster(stage, {"desk": text}))
    await session.launch()
    await asyncio.wait_for(seen.until(lambda record: isinstance(record, Event) and record.kind == "group"), 60)
    (rank,) = state(stage)["ranks"]
    environ = Path(f"/proc/{rank['pid']}/environ").read_bytes().split(b"\0")
    assert b"MINE=not for it" not in environ
    assert {b"PASSED=for it", b"GIVEN=too", b"HOME=" + os.fsencode(stage.home)} <= set(environ)
    await session.stop("enough")
    await session.close()

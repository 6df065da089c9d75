"""A run of a script whose ranks are sessions, on one host, by the supervisor's verbs: they regroup as a task's do."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from motley.trainer.contract.spec import Spec
from motley.trainer.host import processes
from motley.trainer.host.exit_codes import Exit
from tests.support.proc import cmdline
from tests.trainer.rank.session_script import SCRIPT
from tests.trainer.rank.test_script_rank import Scripted
from tests.trainer.supervisor.test_supervisor import eventually


class WithSessions(Scripted):
    """A machine whose project's script calls as a session."""

    def begun(self, member: int, *, anew: bool = False) -> dict[str, Any]:
        """What the newest process of a member's script says of itself."""
        path = self.folder() / f"begun_{member}"
        eventually(lambda: path.exists() and read(path)["anew"] is anew, f"{path.name} is written")
        return read(path)

    def group(self, generation: int, member: int) -> dict[str, Any]:
        path = self.folder() / f"group_{generation}_{member}"
        eventually(path.exists, f"{path.name} is written")
        return read(path)

    def tell(self, name: str) -> None:
        (self.folder() / name).write_text("")

    def train(self, ranks: int, **env: str) -> list[int]:
        """The pids of sessions that train."""
        spec = dataclasses.replace(self.session_spec(ranks), env=env)
        assert self.supervise(spec)["ok"] is True
        return [self.group(0, member)["pid"] for member in range(ranks)]

    def session_spec(self, ranks: int, *, join_timeout_s: float = 60.0, **env: str) -> Spec:
        spec = dataclasses.replace(self.script_spec(ranks), env=env)
        patient = dataclasses.replace(spec.elastic, lost_after_s=20.0)  # a busy machine is no lost one
        return dataclasses.replace(
            spec,
            elastic=patient,
            options=dataclasses.replace(spec.options, join_timeout_s=join_timeout_s, stop_grace_s=30.0),
        )


def read(path: Path) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(path.read_text())
    return table


@pytest.fixture
def machine(tmp_path: Path, pushed: Path) -> Iterator[WithSessions]:
    machine = WithSessions(tmp_path, pushed)
    machine.project(SCRIPT)
    yield machine
    processes.end(machine.folder(), grace_s=0.0)


@pytest.mark.parametrize("struck", ["script", "parent"])
def test_a_killed_rank_comes_back_and_the_others_go_on_in_their_processes(machine: WithSessions, struck: str) -> None:
    first = machine.train(3)
    victim = first[1] if struck == "script" else machine.state()["ranks"][1]["pid"]
    os.kill(victim, signal.SIGKILL)
    group = machine.group(2, 1)  # without it, then with it
    assert (group["members"], group["anew"], group["step"] > 0) == ([0, 1, 2], True, True)
    assert [machine.group(2, member)["pid"] for member in (0, 2)] == [first[0], first[2]]
    assert group["pid"] != first[1]
    machine.tell("finish")
    assert machine.ended() == "finished"
    table = machine.summary()
    assert (table["state"], table["steps"] > 0) == ("finished", True)
    assert [record["cause"] for record in table["regroups"]] == ["lost"]
    assert machine.events_of("restarted") == []
    assert [event["data"]["member"] for event in machine.events_of("rank_killed")] == [1]
    assert [event["data"]["member"] for event in machine.events_of("session")] != []


def test_only_motley_is_added_to_what_a_script_can_import(machine: WithSessions) -> None:
    project = machine.home / ".motley" / "code" / "project"
    for file in ("trainer.py", "remote.py"):
        (project / file).write_text("WHOSE = 'mine'\n")
    for folder in ("profiles", "console"):
        (project / folder).mkdir()
        (project / folder / "__init__.py").write_text("WHOSE = 'mine'\n")
    own = "import trainer, profiles, remote, console\n"
    own += "assert {one.WHOSE for one in (trainer, profiles, remote, console)} == {'mine'}\n"
    (project / "train.py").write_text(own + SCRIPT)
    site = machine.home / "site"
    site.mkdir()
    (site / "mine.py").write_text("")
    machine.train(1, PYTHONPATH=str(site))
    assert machine.begun(0)["path"] == str(machine.code / "motley/__init__.py")
    assert [name for name in os.listdir(machine.code) if name[0] != "."] == ["motley"]
    environ = Path(f"/proc/{machine.begun(0)['pid']}/environ").read_bytes().split(b"\0")
    assert f"PYTHONPATH={site}:{machine.code}".encode() in environ
    machine.tell("finish")
    assert machine.ended() == "finished"


def test_sessions_outlive_their_coordinator(machine: WithSessions) -> None:
    first = machine.train(2)
    (coordinator,) = machine.coordinators()
    os.kill(coordinator, signal.SIGKILL)
    groups = [machine.group(1, member) for member in (0, 1)]
    assert [(group["pid"], group["members"], group["term"]) for group in groups] == [
        (pid, [0, 1], [0, 1]) for pid in first
    ]
    assert groups[0]["step"] > 0
    os.kill(first[1], signal.SIGKILL)  # and what starts a script again finds a run of sessions there, too
    assert machine.group(3, 1)["anew"] is True
    assert machine.group(3, 0)["pid"] == first[0]
    machine.tell("finish")
    assert machine.ended() == "finished"
    assert machine.events_of("restarted") == []


def test_a_stop_reaches_the_sessions(machine: WithSessions) -> None:
    machine.train(2)
    assert machine.stop() == {"left": 0, "state": "stopped"}
    assert machine.summary()["state"] == "stopped"
    assert {rank["code"] for rank in machine.state()["ranks"]} == {Exit.STOPPED}


@pytest.mark.long
def test_an_error_in_a_session_fails_the_run_with_the_script_s_exit_code(machine: WithSessions) -> None:
    machine.train(2)
    machine.tell("fail_1")
    assert machine.ended() == "failed"
    assert [rank["code"] for rank in machine.state()["ranks"]][1] == 1
    (root,) = [e for e in machine.events_of("rank_failed") if e["data"]["root_cause"]]
    assert (root["data"]["member"], root["data"]["traceback"].splitlines()[-1]) == (
        1, "RuntimeError: the loss is a turnip",
    )  # fmt: skip
    assert "rank 1 on box1 failed at step" in machine.summary()["cause"]


def test_one_that_hangs_after_its_error_and_is_told_to_leave_has_failed_all_the_same(machine: WithSessions) -> None:
    """As gloo may have it when Python takes it down."""
    machine.shorten("motley/trainer/supervisor/supervisor.py", "PEERS_S = 5.0", "PEERS_S = 0.5")
    machine.train(1)
    machine.tell("hang")
    machine.tell("fail_0")
    assert machine.ended() == "failed"
    assert machine.summary()["state"] == "failed"
    assert {rank["code"] for rank in machine.state()["ranks"]} == {Exit.STOPPED}


@pytest.mark.long
def test_a_rank_whose_script_never_calls_is_named(machine: WithSessions) -> None:
    machine.supervise(machine.session_spec(2, join_timeout_s=2.0, SILENT="[1]"))
    assert machine.ended() == "failed"
    cause = "gave up waiting for rank 1 on box1 (running its script): no progress for 2 s (run.join_timeout_s)"
    assert machine.summary()["cause"] == cause
    assert machine.events_of("waiting")[-1]["text"] == "waiting for rank 1 on box1 (running its script)"


def test_a_slower_host_is_not_emulated_by_stopping_sessions(machine: WithSessions) -> None:
    """They slow themselves where they compute, as ranks of a task do."""
    spec = dataclasses.replace(machine.session_spec(1), speed=0.2, emulated=True)
    machine.supervise(spec)
    pid = machine.group(0, 0)["pid"]
    eventually((machine.folder() / "session.json").exists, "the host knows that the run is a session's")
    supervisor = machine.state()["pid"]
    stops = [stat(pid) for _ in range(2000)]
    assert b"T" not in stops
    assert cmdline(supervisor)
    machine.tell("finish")
    assert machine.ended() == "finished"


def stat(pid: int) -> bytes:
    """The state of a process as the kernel tells it."""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]

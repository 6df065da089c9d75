"""A warm restart on one host: the supervisor goes on with a new run and forks its ranks; nothing is left of the old."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import motley
from motley.remote.provision.bootstrap import command, program
from motley.remote.provision.process_title_room import with_room
from motley.trainer.contract.run_changes import Lead, Roll
from motley.trainer.contract.spec import (
    BalanceOptions,
    Container,
    DataOptions,
    ElasticOptions,
    Member,
    RunOptions,
    Script,
    Spec,
)
from motley.trainer.contract.task_name import OwnTask
from motley.trainer.contract.term import FIRST
from motley.trainer.host import processes
from motley.trainer.host.paths import read_json
from motley.trainer.supervisor.child import Given
from motley.trainer.verbs.rerun import why_cold
from tests.support.proc import cmdline
from tests.trainer.supervisor.test_supervisor import Machine, eventually


@pytest.fixture
def machine(tmp_path: Path, pushed: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path, pushed)
    yield machine
    for run in ("night", "day"):
        processes.end(machine.folder(run), grace_s=0.0)


class Rerun:
    """The conversation of a master with the host."""

    def __init__(self, machine: Machine, new: Spec) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "motley.trainer", "rerun", "--run", "night", "--host", "box1"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=machine.code,
            env={"HOME": str(machine.home), "PATH": os.environ["PATH"]},
        )  # fmt: skip
        self.answer = self.say(new.to_json())

    def say(self, line: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def end(self) -> int:
        with self.process:
            assert self.process.stdin is not None
            self.process.stdin.close()
            return self.process.wait(30)


def environ(pid: int) -> dict[str, str]:
    pairs = (word.partition("=") for word in Path(f"/proc/{pid}/environ").read_text().split("\0"))
    return {name: value for name, _, value in pairs}


def began(machine: Machine, run: str) -> bool:
    return all((machine.folder(run) / f"rank_{n}.jsonl").exists() for n in (0, 1))


def state(machine: Machine, run: str) -> dict[str, Any]:
    return read_json(machine.folder(run) / "state.json")


def test_a_warm_restart_keeps_the_supervisor_and_leaves_nothing_of_the_old_run(machine: Machine) -> None:
    spec = machine.spec(2, STAND_IN_STUBBORN="1")
    pid = machine.supervise(spec)["pid"]
    eventually(lambda: machine.training(2), "both ranks train")
    before = state(machine, "night")
    rerun = Rerun(machine, dataclasses.replace(spec, run="day"))
    assert rerun.answer == {"ok": True}
    assert state(machine, "night")["state"] == "running"
    assert rerun.say("go") == {"ok": True, "pid": pid}
    assert rerun.end() == 0
    assert processes.tagged(machine.folder("night")) == []
    assert (state(machine, "night")["state"], state(machine, "night")["left"]) == ("stopped", 0)
    assert json.loads((machine.folder("night") / "summary.json").read_text())["state"] == "stopped"
    eventually(lambda: began(machine, "day"), "the ranks of the new run train")
    after = state(machine, "day")
    assert (after["pid"], after["forks"], after["run"]) == (pid, before["forks"], "day")
    assert environ(pid)["MOTLEY_RUN"] == environ(after["forks"])["MOTLEY_RUN"] == "day"
    assert b"\0day\0" in cmdline(after["forks"])
    assert machine.verb("stop", "--run", "day", "--host", "box1") == {"left": 0, "state": "stopped"}
    assert processes.tagged(machine.folder("day")) == []


def test_a_forked_rank_has_its_own_words_and_environment_in_proc_and_ends_with_its_supervisor(machine: Machine) -> None:
    pid = machine.supervise(machine.spec(2))["pid"]
    eventually(lambda: machine.training(2), "both ranks train")
    for member, rank in enumerate(machine.state()["ranks"]):
        words = [
            sys.executable,
            "-m",
            "motley.trainer",
            "rank",
            "--run",
            "night",
            "--host",
            "box1",
            "--member",
            str(member),
        ]
        assert cmdline(rank["pid"]).rstrip(b"\0").split(b"\0") == [word.encode() for word in words]
        found = environ(rank["pid"])
        assert processes.tags("night", "box1", machine.folder()).items() <= found.items()
        assert (found["RANK"], found["LOCAL_RANK"], found["WORLD_SIZE"]) == (str(member), str(member), "2")
        status = Path(f"/proc/{rank['pid']}/status").read_text()
        assert f"\nPPid:\t{pid}\n" in status
        assert os.getsid(rank["pid"]) == rank["pid"]
        assert len(os.listdir(f"/proc/{rank['pid']}/fd")) < 12  # none of the fork server's
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: processes.tagged(machine.folder()) == [], "fork server and ranks end with their supervisor")


@pytest.mark.parametrize(
    ("env", "forked"),
    [({}, True), ({"OMP_NUM_THREADS": "3", "MALLOC_TRIM_THRESHOLD_": "9"}, True), ({"LD_BIND_NOW": "1"}, False),
     ({"PYTHONHASHSEED": "7"}, False), ({"LONG": "." * 9000}, False)],
)  # fmt: skip
def test_a_fork_server_is_forked_unless_its_environment_is_read_at_the_start_of_a_program(
    machine: Machine, env: dict[str, str], forked: bool
) -> None:
    machine.supervise(machine.spec(1, **env))
    eventually(lambda: machine.training(1), "the rank trains")
    words = cmdline(machine.state()["forks"]).rstrip(b"\0").split(b"\0")[1:]
    assert words[:7] == b"-m motley.trainer forkserver --run night --host box1".split()
    assert (b"--room" in words) is not forked
    (rank,) = machine.state()["ranks"]
    assert {f"{k}={v}".encode() for k, v in env.items()} <= set(
        Path(f"/proc/{rank['pid']}/environ").read_bytes().split(b"\0")
    )
    assert machine.stop()["left"] == 0


def test_without_its_fork_server_a_run_goes_on_and_a_killed_rank_comes_back(machine: Machine) -> None:
    spec = machine.spec(2)
    machine.supervise(spec)
    eventually(lambda: machine.training(2), "both ranks train")
    os.kill(machine.state()["forks"], signal.SIGKILL)
    eventually(lambda: machine.state()["forks"] is None, "the supervisor misses it")
    os.kill(machine.state()["ranks"][1]["pid"], signal.SIGKILL)
    eventually(lambda: (machine.folder() / "rank_1.1.jsonl").exists(), "the rank is there again")
    rerun = Rerun(machine, dataclasses.replace(spec, run="day"))
    assert rerun.answer == {"ok": False, "why": "the process that has torch imported is not there"}
    assert rerun.end() == 1
    assert machine.stop()["left"] == 0


@pytest.mark.parametrize(("comes", "there"), [(True, True), (True, False), (False, True)])
def test_a_supervisor_that_was_told_early_has_torch_imported_until_its_run_comes(
    machine: Machine, comes: bool, there: bool
) -> None:
    spec, tags = machine.spec(1), processes.tags("night", "box1", machine.folder())
    text = program("inspect_host", str(machine.code) if there else "")
    process = subprocess.Popen(
        with_room(command(sys.executable, text)),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=machine.home,
        env={"HOME": str(machine.home), "PATH": os.environ["PATH"]},
    )  # fmt: skip

    def forks() -> list[int]:
        return [pid for pid in processes.tagged(machine.folder()) if b"\0forkserver\0" in cmdline(pid)]

    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        given = dataclasses.asdict(Given.of(spec))
        prepare = {"prepare": {"code": str(machine.code), "tags": tags, "given": given}}
        process.stdin.write(text + json.dumps(prepare).encode() + b"\n")
        process.stdin.flush()
        eventually(lambda: bool(forks()), "the fork server is there")
        found = forks()
        assert not machine.folder().exists()
        process.stdin.write(json.dumps({"begin": spec.to_json()}).encode() + b"\n" if comes else b"")
        process.stdin.close()
        said = process.stdout.read().strip().decode()
    if comes:
        assert json.loads(said.removeprefix("motley:"))["ok"] is True
        eventually(lambda: machine.training(1), "the rank trains")
        assert [machine.state()["forks"]] == found
        assert machine.stop()["left"] == 0
    assert processes.tagged(machine.folder()) == []


def test_a_new_run_that_can_t_begin_leaves_nothing_and_says_why(machine: Machine) -> None:
    spec = machine.spec(1)
    machine.supervise(spec)
    eventually(lambda: machine.training(1), "the rank trains")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        rerun = Rerun(machine, dataclasses.replace(spec, run="day", port=taken.getsockname()[1]))
        answer = rerun.say("go")
        rerun.end()
    assert answer["ok"] is False
    assert "is another run at work there?" in answer["why"]
    eventually(lambda: processes.tagged(machine.folder()) == [], "the supervisor ends")
    assert processes.tagged(machine.folder("day")) == []
    assert machine.state()["state"] == "stopped"


STATE = {
    "state": "running",
    "forks": 4711,
    "code": str(Path(motley.__file__).resolve().parents[1]),
    "python": sys.executable,
}
OLD = Spec(
    run="night", host="box1", token="ab" * 32, leader="box1", leader_address="127.0.0.1", port=1,
    members=(Member(member=0, host="box1", local_rank=0, device="cpu"),), options=RunOptions(),
    balance=BalanceOptions(), elastic=ElasticOptions(), data=DataOptions(), env={"TOKEN": "old"},
)  # fmt: skip
LEAD = Lead(term=FIRST, leader="box1", address="", port=0, hosts=("box1",))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"options": RunOptions(threads=3)}, None),
        ({"env": {"HF_HOME": "/data", "TOKEN": "old"}}, "its environment has changed (HF_HOME)"),
        ({"env": {"TOKEN": "secret"}}, "its environment has changed (TOKEN)"),
        ({"members": (Member(member=0, host="box2", local_rank=0, device="cpu"),)}, "its devices have changed"),
        ({"leader": "box2"}, "box1 leads the run by now"),
        ({"script": Script(path="a.py", args=(), tree="", port=1)}, "a script is started anew each time"),
    ],
)
def test_what_makes_a_restart_a_cold_one(changes: dict[str, Any], why: str | None) -> None:
    assert why_cold(OLD, dataclasses.replace(OLD, **changes), STATE, LEAD, Roll()) == why


TASK = OwnTask(tree="8f5a", file="night.py", parameters={"width": 3})


@pytest.mark.parametrize(
    ("before", "now", "warm"),
    [
        (TASK, TASK, True),
        (TASK, dataclasses.replace(TASK, file="day.py"), True),  # another one of the same files
        (TASK, None, True),
        (TASK, dataclasses.replace(TASK, tree="77aa"), False),
        (TASK, dataclasses.replace(TASK, parameters={}), False),
        (None, TASK, False),
    ],
)
def test_a_task_of_the_user_s_own_is_kept_as_long_as_it_is_the_same(
    before: OwnTask | None, now: OwnTask | None, warm: bool
) -> None:
    old, new = dataclasses.replace(OLD, own_task=before), dataclasses.replace(OLD, own_task=now)
    why = None if warm else "the files or the parameters of your task have changed"
    assert why_cold(old, new, STATE, LEAD, Roll()) == why


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"code": "/elsewhere"}, "the code has changed"),
        ({"python": "/opt/python3"}, "its Python has changed"),
        ({"forks": None}, "the process that has torch imported is not there"),
        ({"state": "lost"}, "the run is lost there"),
    ],
)
def test_what_a_host_says_of_itself_may_make_it_a_cold_one(state: dict[str, Any], why: str) -> None:
    assert why_cold(OLD, OLD, {**STATE, **state}, LEAD, Roll()) == why
    assert why_cold(OLD, OLD, STATE, LEAD, Roll(edition=1)) is not None


def test_ranks_in_containers_are_not_kept() -> None:
    old = dataclasses.replace(OLD, container=Container(runtime="docker", image="mine", id="8f5a"))
    assert why_cold(old, OLD, STATE, LEAD, Roll()) == "ranks in containers are started anew each time"

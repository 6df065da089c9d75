"""A warm restart on one host: the supervisor goes on with a new run and forks its ranks; nothing is left of the old."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from motley.remote.provision.bootstrap import command, program
from motley.remote.provision.process_title_room import with_room
from motley.trainer.contract.spec import Spec
from motley.trainer.host import processes
from motley.trainer.host.paths import read_json
from motley.trainer.supervisor.child import Given
from motley.trainer.supervisor.successor import Successor
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

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def say(self, line: str) -> dict[str, Any]:
        self.tell(line)
        return self.hear()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
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


def began(machine: Machine, run: str, *, ranks: int = 2) -> bool:
    return all((machine.folder(run) / f"rank_{n}.jsonl").exists() for n in range(ranks))


def state_written(machine: Machine) -> float:
    """When the supervisor has renewed its state, which it does each second."""
    return (machine.folder() / "state.json").stat().st_mtime


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
    eventually(lambda: processes.tagged(machine.folder()) == [], "the fork server goes with who has started it")


def end_ranks(machine: Machine) -> None:
    """As a run ends on a host when the one that leads it was told first."""
    for rank in machine.state()["ranks"]:
        os.kill(rank["pid"], signal.SIGTERM)
    eventually(lambda: all(rank["code"] is not None for rank in machine.state()["ranks"]), "the ranks have ended")


def test_a_run_that_has_ended_before_the_word_came_waits_for_it(machine: Machine) -> None:
    spec = machine.spec(2)
    pid = machine.supervise(spec)["pid"]
    eventually(lambda: machine.training(2), "both ranks train")
    rerun = Rerun(machine, dataclasses.replace(spec, run="day"))
    assert rerun.answer == {"ok": True}
    end_ranks(machine)
    assert rerun.say("go") == {"ok": True, "pid": pid}
    assert rerun.end() == 0
    eventually(lambda: began(machine, "day"), "the ranks of the new run train")
    assert machine.verb("stop", "--run", "day", "--host", "box1") == {"left": 0, "state": "stopped"}


def test_a_run_that_has_ended_waits_for_the_signal_that_comes_after_the_word(machine: Machine) -> None:
    spec = machine.spec(1)
    pid = machine.supervise(spec)["pid"]
    eventually(lambda: machine.training(1), "the rank trains")
    Successor(machine.folder()).ask(dataclasses.replace(spec, run="day"), received=time.time())
    end_ranks(machine)
    beat = state_written(machine)
    eventually(lambda: state_written(machine) > beat, "the supervisor has looked again")
    assert machine.state()["state"] == "running"
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: began(machine, "day", ranks=1), "the rank of the new run trains")
    assert state(machine, "day")["pid"] == pid
    assert machine.verb("stop", "--run", "day", "--host", "box1") == {"left": 0, "state": "stopped"}


@pytest.mark.parametrize("killed", [False, True])
def test_a_run_that_has_ended_waits_no_longer_than_the_word_may_come(machine: Machine, killed: bool) -> None:
    spec = machine.spec(1)
    machine.supervise(spec)
    eventually(lambda: machine.training(1), "the rank trains")
    rerun = Rerun(machine, dataclasses.replace(spec, run="day"))
    end_ranks(machine)
    assert machine.state()["state"] == "running"
    if killed:
        rerun.process.kill()
    assert (rerun.end() == 0) is False  # another host said no
    eventually(lambda: processes.tagged(machine.folder()) == [], "the supervisor ends")
    assert machine.state()["state"] == "stopped"
    assert not machine.folder("day").exists()


def test_a_stop_between_the_question_and_the_word_ends_the_run(machine: Machine) -> None:
    spec = machine.spec(1)
    machine.supervise(spec)
    eventually(lambda: machine.training(1), "the rank trains")
    rerun = Rerun(machine, dataclasses.replace(spec, run="day"))
    assert machine.stop() == {"left": 0, "state": "stopped"}
    assert rerun.say("go") == {"ok": False, "why": "its supervisor has ended"}
    assert rerun.end() == 1
    assert not (machine.folder("day") / "state.json").exists()


def test_a_rank_that_is_just_being_forked_keeps_no_run_from_following(machine: Machine) -> None:
    spec = machine.spec(2)
    pid = machine.supervise(spec)["pid"]
    eventually(lambda: machine.training(2), "both ranks train")
    before = machine.state()
    rerun = Rerun(machine, dataclasses.replace(spec, run="day"))
    os.kill(before["forks"], signal.SIGSTOP)
    os.kill(before["ranks"][1]["pid"], signal.SIGKILL)
    eventually(lambda: machine.state()["ranks"][1]["pid"] is None, "the rank is to be forked again")
    other = Rerun(machine, dataclasses.replace(spec, run="noon"))
    assert other.answer == {"ok": False, "why": "rank 1 is not there yet"}
    assert other.end() == 1
    rerun.tell("go")
    eventually(lambda: any(event["kind"] == "stopping" for event in machine.events()), "the run is being ended")
    os.kill(before["forks"], signal.SIGCONT)
    assert rerun.hear() == {"ok": True, "pid": pid}
    assert rerun.end() == 0
    eventually(lambda: began(machine, "day"), "the ranks of the new run train")
    assert machine.verb("stop", "--run", "day", "--host", "box1") == {"left": 0, "state": "stopped"}


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

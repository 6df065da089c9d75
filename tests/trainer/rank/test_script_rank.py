"""A run of the user's own script on one host, by the supervisor's verbs: its environment, its ends, its restarts."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from motley.trainer.contract.script import Script
from motley.trainer.contract.spec import BalanceOptions, DataOptions, ElasticOptions, Member, RunOptions, Spec
from motley.trainer.host import processes
from tests.support.proc import cmdline
from tests.trainer.supervisor.test_supervisor import Machine, eventually

WAITS = """
import json, os, pathlib, signal, sys
place = pathlib.Path(os.environ["MOTLEY_DIR"])
shown = {"args": sys.argv[1:], "cwd": os.getcwd(), "pid": os.getpid(), **os.environ}
name = f"seen_{os.environ['MOTLEY_RESTART']}_{os.environ['RANK']}"
(place / f".{name}").write_text(json.dumps(shown))
(place / f".{name}").rename(place / name)
print("hello from", os.environ["RANK"])
"""

AFTER_RANK_1 = """
other, pause = place / "seen_0_1", lambda: signal.sigtimedwait([], 0.3)
while not other.exists(): pause()
pid = json.loads(other.read_text())["pid"]
while pathlib.Path(f"/proc/{pid}").exists(): pause()
pause()
"""


class Scripted(Machine):
    """A machine that has a project, with one script in it."""

    def project(self, text: str) -> None:
        folder = self.home / ".motley" / "code" / "project"
        folder.mkdir(parents=True)
        (folder / "train.py").write_text(text)

    def script_spec(self, ranks: int, *args: str, restarts: int = 3, **env: str) -> Spec:
        return Spec(
            run="night", host="box1", token="ab" * 32, leader="box1", leader_address="127.0.0.1", port=self.port,
            members=tuple(Member(member=i, host="box1", local_rank=i, device="cpu") for i in range(ranks)),
            options=RunOptions(script="train.py", stop_grace_s=0.5), balance=BalanceOptions(),
            elastic=ElasticOptions(restarts=restarts, lost_after_s=0.5), data=DataOptions(), env=env,
            script=Script(path="train.py", args=args, tree="project", port=self.port + 1),
        )  # fmt: skip

    def seen(self, restart: int, rank: int) -> dict[str, Any]:
        """What the script of that start and rank wrote down."""
        path = self.folder() / f"seen_{restart}_{rank}"
        eventually(path.exists, f"{path.name} is written")
        table: dict[str, Any] = json.loads(path.read_text())
        return table

    def summary(self) -> dict[str, Any]:
        table: dict[str, Any] = json.loads((self.folder() / "summary.json").read_text())
        return table

    def ended(self) -> str:
        eventually(lambda: self.state()["state"] in ("finished", "stopped", "failed", "lost"), "the end state")
        eventually(lambda: processes.tagged(self.folder()) == [], "nothing is left")
        return str(self.state()["state"])

    def events_of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events() if event["kind"] == kind]


@pytest.fixture
def machine(tmp_path: Path, pushed: Path) -> Iterator[Scripted]:
    machine = Scripted(tmp_path, pushed)
    yield machine
    processes.end(machine.folder(), grace_s=0.0)


def test_every_rank_has_torchrun_s_environment_and_the_project_as_its_folder(machine: Scripted) -> None:
    machine.project(WAITS)
    assert machine.supervise(machine.script_spec(2, "--lr", "0.1 x", MINE="yes"))["ok"] is True
    assert machine.ended() == "finished"
    first, second = machine.seen(0, 0), machine.seen(0, 1)
    assert first["args"] == ["--lr", "0.1 x"]
    assert first["cwd"] == str(machine.home / ".motley/code/project")
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "MOTLEY_RESTART")
    assert [first[name] for name in names] == ["0", "0", "2", "2", "0", "0", "0"]
    assert [second[name] for name in names] == ["1", "1", "2", "2", "0", "0", "0"]
    assert (second["MASTER_ADDR"], second["MASTER_PORT"]) == ("127.0.0.1", str(machine.port + 1))
    assert (second["GLOO_SOCKET_IFNAME"], second["NCCL_SOCKET_IFNAME"]) == ("lo", "=lo")
    assert (second["MOTLEY_RUN"], second["MOTLEY_HOST"], second["MOTLEY_DEVICE"]) == ("night", "box1", "cpu")
    assert (second["MOTLEY_DIR"], second["MINE"]) == (str(machine.folder()), "yes")
    assert int(second["OMP_NUM_THREADS"]) >= 1
    assert (machine.folder() / "rank_1.out").read_text() == "hello from 1\n"
    table = machine.summary()
    assert (table["state"], table["steps"], table["final_loss"], table["regroups"]) == ("finished", 0, None, [])
    assert [(h["name"], h["ranks"], h["state"]) for h in table["hosts"]] == [("box1", 2, "finished")]
    assert set(table["phases"]) == {"spawn_s", "import_s", "rendezvous_s"}


def test_the_script_is_started_without_a_line_of_python_between_fork_and_exec(machine: Scripted) -> None:
    """Who starts it has other threads, which may hold a lock at the fork."""
    site = machine.home / "site"
    site.mkdir()
    told = machine.home / "forks.txt"
    (site / "sitecustomize.py").write_text(
        "import os, sys\n"
        f"os.register_at_fork(before=lambda: open({str(told)!r}, 'a').write(' '.join(sys.orig_argv) + '\\n'))\n"
    )
    machine.project(WAITS + "import subprocess; subprocess.run(['true'], preexec_fn=os.getpid)\n")
    machine.supervise(machine.script_spec(1, PYTHONPATH=str(site)))
    assert machine.ended() == "finished"
    (line,) = told.read_text().splitlines()  # of the script itself
    assert line.endswith("train.py")


def test_a_stop_ends_the_script_and_what_it_has_started(machine: Scripted) -> None:
    ignoring = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    child = "import subprocess; subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'], "
    child += "start_new_session=True)\n"
    machine.project(WAITS + ignoring + child + "while True: signal.pause()\n")
    machine.supervise(machine.script_spec(2))
    machine.seen(0, 0), machine.seen(0, 1)
    eventually(lambda: len(processes.tagged(machine.folder())) == 8, "both have their children")
    assert machine.stop() == {"left": 0, "state": "stopped"}
    assert processes.tagged(machine.folder()) == []
    assert machine.summary()["state"] == "stopped"


def test_a_script_that_fails_by_itself_ends_the_run_and_is_named_first(machine: Scripted) -> None:
    """Rank 0 fails as well, of the loss of rank 1: that is no cause of its own."""
    machine.project(f"{WAITS}if os.environ['RANK'] == '1': sys.exit('out of luck')\n{AFTER_RANK_1}1 / 0\n")
    machine.supervise(machine.script_spec(2))
    assert machine.ended() == "failed"
    failed = machine.events_of("rank_failed")
    assert [e["data"]["member"] for e in failed if e["data"]["root_cause"]] == [1]
    (root,) = [e for e in failed if e["data"]["root_cause"]]
    assert (root["text"], root["data"]["traceback"].splitlines()[-1]) == ("rank 1: exit code 1", "out of luck")
    table = machine.summary()
    assert (table["state"], table["cause"]) == ("failed", "rank 1 on box1 failed: exit code 1")
    assert machine.events_of("restarted") == []


@pytest.mark.parametrize("struck", ["script", "process"])
def test_a_killed_rank_starts_the_script_anew_everywhere(machine: Scripted, struck: str) -> None:
    """Whether it is the script itself, or the process that Motley has started for the rank."""
    machine.project(WAITS + "while True: signal.pause()\n")
    machine.supervise(machine.script_spec(2))
    first = [machine.seen(0, rank)["pid"] for rank in (0, 1)]
    os.kill(first[1] if struck == "script" else machine.state()["ranks"][1]["pid"], signal.SIGKILL)
    again = [machine.seen(1, rank) for rank in (0, 1)]
    assert {table["WORLD_SIZE"] for table in again} == {"2"}
    eventually(lambda: not any(b"train.py" in cmdline(pid) for pid in first), "the first ones are gone")
    eventually(lambda: len(machine.events_of("restarted")) == 1, "the restart is told of")
    (event,) = machine.events_of("restarted")
    cause = "killed" if struck == "script" else "lost"
    assert event["data"]["why"] == [{"member": 1, "host": "box1", "cause": cause}]
    how = "was ended by signal 9 (SIGKILL)" if struck == "script" else "was lost"
    assert event["text"] == f"restart 1 of 3 (elastic.restarts): rank 1 on box1 {how}"
    assert machine.stop()["left"] == 0
    (record,) = machine.summary()["regroups"]
    assert (record["cause"], record["host"], record["step_before"], record["step_after"]) == ("lost", "box1", 0, 0)
    assert record["pause_s"] > 0


def test_restarts_are_used_up(machine: Scripted) -> None:
    machine.project(WAITS + "os.kill(os.getpid(), signal.SIGKILL)\n")
    machine.supervise(machine.script_spec(1, restarts=2))
    assert machine.ended() == "failed"
    assert [event["data"]["restart"] for event in machine.events_of("restarted")] == [1, 2]
    cause = "rank 0 on box1 was ended by signal 9 (SIGKILL); the script was started anew 2 times already"
    assert machine.summary()["cause"] == f"{cause} (elastic.restarts = 2)"
    assert [e["text"] for e in machine.events() if e["level"] == "error" and e["kind"] == "note"] == [
        f"{cause} (elastic.restarts = 2)"
    ]
    assert len(machine.summary()["regroups"]) == 2


def test_no_restart_is_wanted(machine: Scripted) -> None:
    machine.project(WAITS + "os.kill(os.getpid(), signal.SIGKILL)\n")
    machine.supervise(machine.script_spec(1, restarts=0))
    assert machine.ended() == "failed"
    cause = "rank 0 on box1 was ended by signal 9 (SIGKILL); it is not restarted (elastic.restarts = 0)"
    assert machine.summary()["cause"] == cause
    assert not (machine.folder() / "seen_1_0").exists()


def test_children_that_a_script_has_left_do_not_outlive_its_restart(machine: Scripted) -> None:
    child = "import subprocess; subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'], "
    child += "start_new_session=True)\n"
    machine.project(WAITS + child + "while True: signal.pause()\n")
    machine.supervise(machine.script_spec(1))
    pid = machine.seen(0, 0)["pid"]
    eventually(lambda: len(processes.tagged(machine.folder())) == 5, "the script has its child")
    os.kill(pid, signal.SIGKILL)
    machine.seen(1, 0)
    eventually(lambda: len(processes.tagged(machine.folder())) == 5, "as many as before")
    assert machine.stop()["left"] == 0


def test_a_killed_coordinator_is_followed_by_another(machine: Scripted) -> None:
    machine.project(WAITS + "while True: signal.pause()\n")
    machine.supervise(machine.script_spec(2))
    machine.seen(0, 0), machine.seen(0, 1)
    (coordinator,) = [p for p in processes.tagged(machine.folder()) if b"coordinate" in cmdline(p)]
    os.kill(coordinator, signal.SIGKILL)
    machine.seen(1, 0), machine.seen(1, 1)
    eventually(lambda: len(machine.events_of("restarted")) == 1, "the restart is told of")
    assert "its coordinator was replaced" in machine.events_of("restarted")[0]["text"]
    assert machine.stop()["left"] == 0
    assert machine.summary()["state"] == "stopped"

"""The supervisor on one host, by its verbs: it outlives its starter, owns its ranks, and leaves nothing."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from motley.remote.rpc.verbs import supervise_argv
from motley.trainer.contract.spec import BalanceOptions, DataOptions, ElasticOptions, Member, RunOptions, Spec
from motley.trainer.host import processes
from motley.trainer.host.paths import run_folder
from tests.remote.stage import put
from tests.support.full_disk import read_only, small_disk
from tests.support.lines import whole_lines
from tests.support.ports import free_pair
from tests.support.proc import cmdline

BOUND_S = 30.0


def eventually(true: Callable[[], bool], what: str) -> None:
    """Wait for what another process does: there is no event for it here."""
    deadline = time.monotonic() + BOUND_S
    while not true():
        assert time.monotonic() < deadline, f"not within {BOUND_S:.0f} s: {what}"
        time.sleep(0.01)  # the core is theirs


class Machine:
    """A home folder with the pushed tree, and the trainer's verbs as the master calls them."""

    def __init__(self, folder: Path, pushed: Path) -> None:
        self.home = folder / "home"
        self.home.mkdir(exist_ok=True)
        self.code = folder / "code"
        shutil.copytree(pushed, self.code, copy_function=os.link)
        self.port = free_pair()

    def shorten(self, file: str, bound: str, shorter: str) -> None:
        """Another bound in the code of this machine alone."""
        text = (self.code / file).read_text()
        assert text.count(bound) == 1
        put(self.code / file, text.replace(bound, shorter))

    def folder(self, run: str = "night") -> Path:
        return run_folder(run, "box1", home=self.home)

    def spec(self, ranks: int, **env: str) -> Spec:
        return Spec(
            run="night", host="box1", token="ab" * 32, leader="box1", leader_address="127.0.0.1", port=self.port,
            members=tuple(Member(member=i, host="box1", local_rank=i, device="cpu") for i in range(ranks)),
            options=RunOptions(stop_grace_s=0.3), balance=BalanceOptions(), elastic=ElasticOptions(),
            data=DataOptions(), env=env,
        )  # fmt: skip

    def verb(self, *words: str, stdin: str = "") -> dict[str, Any]:
        argv, more = [sys.executable, "-m", "motley.trainer", *words], {}
        if words == ("supervise",):
            _, *tags, _, _, _, supervise, room, dots = supervise_argv("night", "box1", "", str(self.folder()))
            more = dict(tag.split("=", 1) for tag in tags)
            argv = [*argv[:-1], supervise, room, dots]
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, cwd=self.code, timeout=60, check=False,
            env={"HOME": str(self.home), "PATH": os.environ["PATH"], **more},
        )  # fmt: skip
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    def supervise(self, spec: Spec) -> dict[str, Any]:
        return self.verb("supervise", stdin=spec.to_json())

    def stop(self) -> dict[str, Any]:
        return self.verb("stop", "--run", "night", "--host", "box1")

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder() / "state.json").read_text())
        return found

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in whole_lines(self.folder() / "events.jsonl")]

    def coordinators(self) -> list[int]:
        return [pid for pid in processes.tagged(self.folder()) if b"coordinate" in cmdline(pid)]

    def training(self, ranks: int) -> bool:
        """They have made a step, and the supervisor has told their pids, which it does on its own time."""
        files = [self.folder() / f"rank_{member}.jsonl" for member in range(ranks)]
        if not all(path.exists() and path.stat().st_size for path in files):
            return False
        return sum(rank["pid"] is not None for rank in self.state()["ranks"]) >= ranks


@pytest.fixture
def machine(tmp_path: Path, pushed: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path, pushed)
    yield machine
    processes.end(machine.folder(), grace_s=0.0)


def test_the_run_goes_on_after_its_starter_and_stop_leaves_nothing(machine: Machine) -> None:
    answer = machine.supervise(machine.spec(2))
    assert answer["ok"] is True
    eventually(lambda: machine.training(2), "both ranks train")
    state = machine.state()
    assert (state["state"], state["pid"]) == ("running", answer["pid"])
    assert processes.same_process(state["pid"], state["start"], state["boot_id"])
    assert len(processes.tagged(machine.folder())) == 5  # supervisor, fork server, coordinator, two ranks
    assert len(os.listdir(f"/proc/{state['pid']}/task")) == 1  # it runs Python between fork and exec (`die_with`)
    assert (machine.folder() / "spec.json").stat().st_mode & 0o777 == 0o600
    assert machine.stop() == {"left": 0, "state": "stopped"}
    assert processes.tagged(machine.folder()) == []
    summary = json.loads((machine.folder() / "summary.json").read_text())
    assert summary["state"] == "stopped"


@pytest.mark.parametrize("killed", [False, True])
def test_the_word_of_the_end_is_there_before_the_state_that_ends_all_following(machine: Machine, killed: bool) -> None:
    """Who follows a run reads the state first, and after an end state what is there, once."""
    slow = "time.sleep(0.5 * (kind == 'ended'))\n        event = Event(\n"
    machine.shorten("motley/trainer/host/journal.py", "event = Event(\n", slow)
    pid = machine.supervise(machine.spec(1))["pid"]
    eventually(lambda: machine.training(1), "the rank trains")
    os.kill(pid, signal.SIGKILL if killed else signal.SIGTERM)
    stop = subprocess.Popen(
        [sys.executable, "-m", "motley.trainer", "stop", "--run", "night", "--host", "box1"], cwd=machine.code,
        env={"HOME": str(machine.home), "PATH": os.environ["PATH"]}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    with stop:
        eventually(lambda: machine.state()["state"] == "stopped", "the end state is written")
        assert [event["kind"] for event in machine.events()][-1] == "ended"


def test_ranks_that_ignore_term_and_children_in_sessions_of_their_own_end_too(machine: Machine) -> None:
    machine.supervise(machine.spec(2, STAND_IN_STUBBORN="1"))
    eventually(lambda: machine.training(2), "both ranks train")
    assert len(processes.tagged(machine.folder())) == 7
    assert machine.stop()["left"] == 0
    assert processes.tagged(machine.folder()) == []


def test_a_daemon_that_has_dropped_its_environment_ends_too(machine: Machine) -> None:
    machine.supervise(machine.spec(1, STAND_IN_DAEMON="1"))
    daemon = machine.folder() / "daemon.pid"
    eventually(lambda: machine.training(1) and daemon.exists(), "the rank trains, and its daemon is there")
    pid = int(daemon.read_text())
    assert Path(f"/proc/{pid}/environ").read_bytes().find(b"MOTLEY") < 0
    assert processes.start_ticks(pid) is not None
    assert machine.stop() == {"left": 0, "state": "stopped"}
    assert processes.start_ticks(pid) is None
    assert machine.events()[-1]["data"]["left"] == 0


def test_a_sign_of_life_changes_nothing_in_the_state(machine: Machine) -> None:
    machine.supervise(machine.spec(1))
    eventually(lambda: machine.training(1), "the rank trains")
    path = machine.folder() / "state.json"
    os.utime(path, (1, 1))
    found = path.read_bytes(), path.stat().st_ino
    eventually(lambda: path.stat().st_mtime > 1, "a sign of life")
    assert (path.read_bytes(), path.stat().st_ino) == found
    assert machine.stop()["left"] == 0


def test_a_second_supervisor_of_the_same_run_refuses(machine: Machine) -> None:
    machine.supervise(machine.spec(1))
    answer = machine.supervise(machine.spec(1))
    assert answer["ok"] is False
    assert "at work on this host already" in answer["error"]
    assert machine.stop()["left"] == 0
    answer = machine.supervise(machine.spec(1))
    assert answer["ok"] is False
    assert "choose another name" in answer["error"]


def test_a_port_in_use_is_refused_before_anything_runs(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", machine.port)):
        answer = machine.supervise(machine.spec(1))
    assert answer["ok"] is False
    assert "is another run at work there?" in answer["error"]
    assert processes.tagged(machine.folder()) == []


def test_a_killed_supervisor_takes_its_ranks_and_stop_sweeps_their_children(machine: Machine) -> None:
    pid = machine.supervise(machine.spec(2, STAND_IN_STUBBORN="1"))["pid"]
    eventually(lambda: machine.training(2), "both ranks train")
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(processes.tagged(machine.folder())) == 2, "only the ranks' children are left")
    (found,) = machine.verb("status")["runs"]
    assert (found["state"], found["cause"], found["left"]) == ("lost", "Motley's process on this host was killed", 2)
    assert machine.stop() == {"left": 0, "state": "stopped"}
    assert processes.tagged(machine.folder()) == []


def test_a_killed_rank_comes_back_and_the_others_go_on(machine: Machine) -> None:
    machine.supervise(machine.spec(2))
    eventually(lambda: machine.training(2), "both ranks train")
    os.kill(machine.state()["ranks"][1]["pid"], signal.SIGKILL)
    eventually(lambda: (machine.folder() / "rank_1.1.jsonl").exists(), "the rank is there again")
    eventually(lambda: (machine.folder() / "rank_1.1.jsonl").stat().st_size > 0, "and trains")
    kinds = {e["kind"]: e for e in machine.events()}
    assert kinds["rank_killed"]["text"] == "rank 1: ended by signal 9; it is started again in 1 s"
    assert kinds["lost"]["data"]["cause"] == "lost"
    assert machine.stop()["left"] == 0


def test_a_rank_that_fails_by_itself_ends_the_run_and_is_named(machine: Machine) -> None:
    machine.shorten("motley/trainer/supervisor/supervisor.py", "PEERS_S = 5.0", "PEERS_S = 0.5")
    machine.supervise(machine.spec(2, STAND_IN_FAILS="1"))
    eventually(lambda: machine.state()["state"] == "failed", "the end state")
    roots = [e for e in machine.events() if e["kind"] == "rank_failed" and e["data"]["root_cause"]]
    assert (roots[0]["data"]["member"], roots[0]["text"]) == (1, "rank 1: exit code 1")
    assert "out of luck" in roots[0]["data"]["traceback"]
    eventually(lambda: processes.tagged(machine.folder()) == [], "the supervisor itself ends")


def test_the_coordinator_may_have_as_many_connections_as_the_system_grants(machine: Machine) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, before[1]), before[1]))
    try:
        machine.supervise(machine.spec(1))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    eventually(lambda: machine.training(1), "the rank trains")
    (coordinator,) = machine.coordinators()
    assert resource.prlimit(coordinator, resource.RLIMIT_NOFILE)[0] == min(before[1], 1 << 16)
    assert resource.prlimit(machine.state()["pid"], resource.RLIMIT_NOFILE)[0] == min(512, before[1])
    assert machine.stop()["left"] == 0


def test_a_killed_coordinator_is_followed_by_another(machine: Machine) -> None:
    machine.supervise(machine.spec(2))
    eventually(lambda: machine.training(2), "both ranks train")
    (coordinator,) = machine.coordinators()
    os.kill(coordinator, signal.SIGKILL)
    eventually(lambda: any(e["kind"] == "group" and e["data"]["generation"] for e in machine.events()), "a new group")
    assert machine.stop()["left"] == 0
    assert json.loads((machine.folder() / "summary.json").read_text())["state"] == "stopped"


def test_on_a_full_disk_a_killed_coordinator_is_followed_by_another_too(tmp_path: Path, pushed: Path) -> None:
    with small_disk(tmp_path / "home") as disk:
        host = Machine(tmp_path, pushed)
        try:
            host.supervise(host.spec(2))
            eventually(lambda: host.training(2), "both ranks train")
            (first,) = host.coordinators()
            disk.fill()
            os.kill(first, signal.SIGKILL)
            eventually(lambda: any(pid != first for pid in host.coordinators()), "another coordinator")
            (second,) = (pid for pid in host.coordinators() if pid != first)
            assert not (host.folder() / "lead.json").exists()
            told = Path(f"/proc/{second}/environ").read_bytes()
            assert b'"term": [0, 1]' in told  # it knows all the same that it is the second
            disk.make_room()
            written = (host.folder() / "rank_0.jsonl").stat().st_size
            eventually(lambda: (host.folder() / "rank_0.jsonl").stat().st_size > written + 1000, "training goes on")
            assert host.stop()["left"] == 0
        finally:
            processes.end(host.folder(), grace_s=0.0)


def test_on_a_disk_that_became_read_only_another_coordinator_takes_over_and_the_run_can_be_stopped(
    machine: Machine,
) -> None:
    machine.supervise(machine.spec(2))
    eventually(lambda: machine.training(2), "both ranks train")
    (first,) = machine.coordinators()
    with read_only(machine.home):
        os.kill(first, signal.SIGKILL)
        eventually(lambda: any(pid != first for pid in machine.coordinators()), "another coordinator")
        written = (machine.folder() / "rank_0.jsonl").stat().st_size
        eventually(lambda: (machine.folder() / "rank_0.jsonl").stat().st_size > written + 1000, "training goes on")
        assert machine.stop() == {"left": 0, "state": "stopped"}
    said = [event["text"] for event in machine.events()]
    assert any("lead.json can't be written (Read-only file system)" in text and "dmesg" in text for text in said)
    assert all("signal 9" in text for text in said if text.startswith("the coordinator "))  # the second one lived


def test_a_host_that_was_cut_off_rejoins_with_what_it_was_given_then(machine: Machine) -> None:
    """Here the host led the run itself, which only another leader can change."""
    machine.supervise(machine.spec(1))
    eventually(lambda: machine.training(1), "the rank trains")
    os.kill(machine.state()["pid"], signal.SIGKILL)
    rejoin = ("rejoin", "--run", "night", "--host", "box1")
    eventually(lambda: machine.verb("status")["runs"][0]["state"] == "lost", "the supervisor is missed")
    assert machine.verb(*rejoin) == {"ok": False, "error": "this host led the run: nobody else knows how far it was"}
    lead = {"term": 1, "leader": "box2", "address": "127.0.0.1", "port": machine.port, "hosts": ["box2"]}
    answer = machine.verb("lead", "--run", "night", "--host", "box1", stdin=json.dumps(lead))
    assert answer == {"lead": {**lead, "term": [1, 0], "keepers": []}}
    assert machine.verb(*rejoin)["ok"] is True
    assert "at work on this host already" in machine.verb(*rejoin)["error"]
    assert machine.stop()["left"] == 0


def test_processes_of_another_home_are_not_touched(machine: Machine, tmp_path: Path, pushed: Path) -> None:
    """Same run and host name, another folder: two users of one machine."""
    (tmp_path / "other").mkdir()
    other = Machine(tmp_path / "other", pushed)
    machine.supervise(machine.spec(1))
    other.supervise(other.spec(1))
    eventually(lambda: machine.training(1) and other.training(1), "both runs train")
    assert machine.stop()["left"] == 0
    assert other.state()["state"] == "running"
    assert len(processes.tagged(other.folder())) == 4
    assert other.stop()["left"] == 0

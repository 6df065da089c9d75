"""The lab itself: its hosts are as separate, as slow and as breakable as it says, and it leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from motley.remote.config.load import load
from tests.lab import lab as lab_module
from tests.lab.cgroup import Cgroup, Trees
from tests.lab.host import REPOSITORY, LabHost
from tests.lab.lab import FOLDERS, Lab, alone, remove_orphans, sweep
from tests.lab.network import NetworkError
from tests.support.proc import process_file

SOON_S = 30.0  # bound of waits that end by themselves
QUIET_S = 0.7  # how long nothing must come, where nothing may come

# The CPU time that a busy loop gets, and the time that it takes meanwhile.
BUSY = """
import time
began, spent = time.monotonic(), time.process_time()
while time.monotonic() < began + 1.5: pass
print(time.process_time() - spent, time.monotonic() - began)
"""
SLACK_S = 0.05  # of CPU time: what is left of a quota's period at either end, on each core


@contextlib.contextmanager
def session(lab: Lab, host: str) -> Iterator[subprocess.Popen[str]]:
    """An open SSH session whose far end sends back what it is sent."""
    process = lab.popen(lab.ssh_command(host, "cat"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    try:
        say(process, "hello")
        assert heard(process, SOON_S) == "hello\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def say(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdin is not None
    os.write(process.stdin.fileno(), f"{word}\n".encode())


def heard(process: subprocess.Popen[str], within_s: float) -> str | None:
    """What came back, "" when the session ended, None when there was silence."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], within_s)
    return os.read(process.stdout.fileno(), 4096).decode() if ready else None


def test_four_hosts_answer_each_with_its_own_name_address_and_boot_id(lab: Lab) -> None:
    answers = [
        lab.ssh(name, "hostname; cat /proc/sys/kernel/random/boot_id; ip -4 -o address show dev eth0")
        for name in lab.hosts
    ]
    assert [answer.returncode for answer in answers] == [0] * 4, [answer.stderr for answer in answers]
    lines = [answer.stdout.splitlines() for answer in answers]
    assert [line[0] for line in lines] == ["box1", "box2", "box3", "box4"]
    assert len({line[1] for line in lines}) == 4
    for host, line in zip(lab.hosts.values(), lines, strict=True):
        assert f" {host.address}/24 " in line[2]


def test_hosts_reach_each_other_but_their_own_name_is_a_trap(lab: Lab) -> None:
    """As on Debian, a host's own name leads to 127.0.1.1: whoever hands out its name as an address fails here too."""
    found = lab.ssh("box1", "getent hosts box1 box2")
    assert [line.split()[0] for line in found.stdout.splitlines()] == ["127.0.1.1", lab["box2"].address]
    greeting = lab.ssh("box1", f"bash -c 'read -r line < /dev/tcp/{lab['box2'].address}/22; echo $line'")
    assert greeting.stdout.startswith("SSH-2.0-OpenSSH")


def test_a_host_has_the_python_but_neither_the_repository_nor_the_tests_files(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("only on the master")
    found = lab.ssh("box1", f"{sys.executable} -c 'import importlib.util as u; print(u.find_spec(\"torch\").name)'")
    assert found.stdout == "torch\n", found.stderr
    assert lab.ssh("box1", f"cat {tmp_path}/secret {REPOSITORY}/Makefile").stdout == ""


def test_a_quota_is_felt(lab: Lab) -> None:
    loops = [
        lab.popen(lab.ssh_command(name, f"{sys.executable} -c '{BUSY}'"), stdout=subprocess.PIPE)
        for name in ("box1", "box3")
    ]
    for loop, cores in zip(loops, (0.8, 0.2), strict=True):
        spent_s, took_s = map(float, loop.communicate(timeout=60)[0].split())
        assert 0 < spent_s <= cores * took_s + SLACK_S


def test_a_quota_can_change_while_the_host_runs(lab: Lab) -> None:
    lab["box1"].set_quota(0.1)
    spent_s, took_s = map(float, lab.ssh("box1", f"{sys.executable} -c '{BUSY}'").stdout.split())
    assert 0 < spent_s <= 0.1 * took_s + SLACK_S


def test_a_link_is_no_faster_than_it_is_set_in_both_directions(lab: Lab) -> None:
    """However slow the machine is."""
    lab["box1"].set_link(20)
    size = 2_500_000  # a second's worth
    started = time.monotonic()
    assert len(lab.ssh("box1", f"head -c {size} /dev/zero | tr '\\0' x").stdout) == size
    assert time.monotonic() - started > 0.8
    started = time.monotonic()
    push = lab.popen(lab.ssh_command("box1", "wc -c"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert push.communicate("x" * size, timeout=60)[0].strip() == str(size)
    assert time.monotonic() - started > 0.8


def test_a_crash_resets_its_connections_and_the_host_comes_back_with_its_disk(lab: Lab) -> None:
    boot_id = "cat /proc/sys/kernel/random/boot_id"
    before = lab.ssh("box4", f"echo kept > note; {boot_id}").stdout
    with session(lab, "box4") as peer:
        lab["box4"].crash()
        assert heard(peer, SOON_S) == ""
        assert peer.wait(SOON_S) == 255
    assert not lab["box4"].is_up
    lab["box4"].boot_again()
    kept, after = lab.ssh("box4", f"cat note; {boot_id}").stdout.splitlines()
    assert kept == "kept"
    assert after.strip() != before.strip()


def test_a_pulled_cable_is_silence_and_plugged_in_again_all_goes_on(lab: Lab) -> None:
    with session(lab, "box4") as peer:
        lab["box4"].unplug()
        say(peer, "anyone?")
        assert heard(peer, QUIET_S) is None
        lab["box4"].plug()
        assert heard(peer, SOON_S) == "anyone?\n"


def test_a_power_cut_is_silence_too(lab: Lab) -> None:
    with session(lab, "box4") as peer:
        lab["box4"].power_cut()
        say(peer, "anyone?")
        assert heard(peer, QUIET_S) is None
    lab["box4"].boot_again()
    assert lab.ssh("box4", "hostname").stdout == "box4\n"


def test_a_frozen_host_stands_still_until_it_is_thawed(lab: Lab) -> None:
    with session(lab, "box3") as peer:
        lab["box3"].freeze()
        say(peer, "awake?")
        assert heard(peer, QUIET_S) is None
        lab["box3"].thaw()
        assert heard(peer, SOON_S) == "awake?\n"


def test_a_host_that_is_back_is_found_by_who_asked_for_it_before(lab: Lab) -> None:
    """Linux would tell "no route to host" to all who ask in the three seconds after the first one did."""
    host = lab["box4"]
    asked = ["ip", "neigh", "show", "to", host.address]
    host.power_cut()
    lab.exec(["ip", "neigh", "flush", "to", host.address])
    in_vain = lab.popen(["ssh", *lab.ssh_command("box4", "true")[1:]], stderr=subprocess.PIPE)
    deadline = time.monotonic() + SOON_S
    while "INCOMPLETE" not in lab.exec(asked).stdout:
        assert time.monotonic() < deadline, lab.exec(asked).stdout
    lab.bring_back("box4")
    known = lab.exec(asked).stdout
    assert "INCOMPLETE" not in known
    assert "FAILED" not in known
    assert lab.ssh("box4", "hostname").stdout == "box4\n"
    in_vain.communicate(timeout=SOON_S)


def test_restarting_sshd_keeps_open_sessions(lab: Lab) -> None:
    with session(lab, "box2") as peer:
        lab["box2"].restart_sshd()
        say(peer, "still there?")
        assert heard(peer, SOON_S) == "still there?\n"
    assert lab.ssh("box2", "hostname").stdout == "box2\n"


def test_processes_of_a_run_are_found_by_their_tag(lab: Lab) -> None:
    host = lab["box2"]
    started = lab.ssh(
        "box2", "for run in one two; do MOTLEY_RUN=$run setsid sleep 60 >/dev/null 2>&1 </dev/null & done; echo ok"
    )
    assert started.stdout == "ok\n"
    deadline = time.monotonic() + SOON_S
    while [programs(host, run) for run in ("one", "two")] != [["sleep"], ["sleep"]]:
        assert time.monotonic() < deadline, host.processes()
        time.sleep(0.02)  # shell, setsid, sleep: while one program takes the place of another its tags cannot be read
    (one,) = host.processes("one")
    assert len(host.processes()) == 2
    assert lab["box1"].processes() == []
    ended = os.pidfd_open(one)
    try:
        os.kill(one, signal.SIGKILL)
        assert select.select([ended], [], [], SOON_S)[0]
    finally:
        os.close(ended)
    assert host.processes("one") == []
    host.crash()
    assert host.processes() == []


def programs(host: LabHost, run: str) -> list[str]:
    """What the processes with a run's tag are running at this moment."""
    return [process_file(pid, "comm").decode().strip() for pid in host.processes(run)]


def test_its_cluster_toml_names_the_hosts_it_was_asked_for(lab: Lab, tmp_path: Path) -> None:
    path = lab.cluster_toml(tmp_path, hosts=["box1", "box3"], run={"steps": 50}, balance={"policy": "static"})
    cluster = load(path)
    assert [(host.name, host.address) for host in cluster.hosts] == [("box1", "10.77.0.11"), ("box3", "10.77.0.13")]
    assert (cluster.run.steps, cluster.balance.policy) == (50, "static")


def left_of(name: str) -> list[str]:
    """Groups, folders and mounts that bear a lab's name."""
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if name in line]
    folders = [str(path) for path in FOLDERS.glob(f"{name}*")]
    return [*(group.name for group in Cgroup.named_like(name)), *folders, *mounts]


def is_alive(pid: int) -> bool:
    """A zombie is not: it waits for its parent only."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.usefixtures("can_have_a_lab")
def test_nothing_is_left_after_close() -> None:
    namespaces_before = set(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else set()
    with Lab({"alone": None}) as lab:
        stray = lab.popen(["sleep", "600"])
        assert lab.ssh("alone", "setsid sleep 600 >/dev/null 2>&1 </dev/null & echo ok").stdout == "ok\n"
        pids = [pid for group in Cgroup.named_like(lab.name) for pid in group.pids()]
        assert stray.pid in pids
        lab["alone"].freeze()
    assert stray.wait(SOON_S) == -signal.SIGKILL
    assert left_of(lab.name) == []
    assert [pid for pid in pids if is_alive(pid)] == []
    assert (set(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else set()) == namespaces_before


@pytest.mark.usefixtures("can_have_a_lab")
def test_nothing_is_left_when_the_set_up_fails_half_way() -> None:
    lab = Lab({"fine": None, "a-name-too-long-for-a-network-port": None})
    with pytest.raises(NetworkError):
        lab.start()
    assert left_of(lab.name) == []


@pytest.mark.usefixtures("can_have_a_lab")
def test_the_lab_of_a_killed_test_run_is_swept_and_no_other(lab: Lab) -> None:
    maker = (
        "import signal; from tests.lab.lab import Lab; lab = Lab({'orphan': 0.5}); lab.start(); "
        "print(lab.name, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", maker], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as made:
        try:
            assert made.stdout is not None
            name = made.stdout.readline().strip()
            assert name.startswith(lab_module.PREFIX)
            assert name not in sweep()
            with alone():  # else a lab that begins just now, of a test beside this one, would remove it
                made.kill()
                made.wait(SOON_S)
                assert left_of(name)
                assert name in remove_orphans()
        finally:
            made.kill()
    assert left_of(name) == []
    assert lab.ssh("box1", "hostname").stdout == "box1\n"


def test_a_quota_of_version_2_is_a_share_of_each_20_ms(tmp_path: Path) -> None:
    """What is written where control groups are of version 2; the other tests run on those that are here."""
    group = Cgroup("box1", Trees(cpu=tmp_path, freezer=tmp_path, version=2))
    (tmp_path / "box1").mkdir()
    group.set_cores(0.2)
    assert (tmp_path / "box1" / "cpu.max").read_text() == "4000 20000"
    group.set_cores(None)
    assert (tmp_path / "box1" / "cpu.max").read_text() == "max 20000"
    assert group.join_command().count("echo") == 1

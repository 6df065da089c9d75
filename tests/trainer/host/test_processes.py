"""Ending processes: all that belong, and no other that has one's number by now."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from motley.trainer.host import processes

WITHIN_S = 60.0


def is_readable(fd: int, within_s: float) -> bool:
    """As `select` says it, also of a number above 1,023: other tests of this process may have opened many files."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(within_s * 1000))


SLEEPS = [sys.executable, "-c", "import signal; signal.pause()"]


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEPS) as child:
        yield child
        child.kill()


def test_a_process_that_has_the_number_of_another_hears_nothing(child: subprocess.Popen[bytes]) -> None:
    start = processes.start_ticks(child.pid)
    assert start is not None
    assert not processes.send_to(child.pid, start - 1, signal.SIGKILL)  # of one that has ended
    assert child.poll() is None
    assert processes.send_to(child.pid, start, signal.SIGKILL)
    assert child.wait(WITHIN_S) == -signal.SIGKILL
    assert not processes.send_to(child.pid, start, signal.SIGKILL)


def test_the_number_is_given_to_another_between_the_look_and_the_signal(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handle is taken first: what is looked at then is what is signalled, or nobody."""
    start, seen = processes.start_ticks(child.pid), list[int]()
    assert start is not None
    handle = os.pidfd_open(child.pid)

    def ends_meanwhile(_: int) -> int | None:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        child.wait(WITHIN_S)
        return start

    monkeypatch.setattr(processes, "start_ticks", ends_meanwhile)
    monkeypatch.setattr(os, "kill", lambda pid, _: seen.append(pid))
    assert not processes.send_to(child.pid, start, signal.SIGTERM)
    assert seen == []
    os.close(handle)


def test_the_number_of_one_that_is_to_end_is_given_to_another_after_the_look(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    start = processes.start_ticks(child.pid)
    assert start is not None
    looks = [{}, {child.pid: start - 1}, {child.pid: start - 1}]  # it has ended since, but for the last
    monkeypatch.setattr(processes, "_tagged", lambda *_: looks.pop())
    assert processes.end(tmp_path, grace_s=0.0) == 0
    assert looks == []  # asked to end, then killed
    assert processes.send_to(child.pid, start, signal.SIGUSR1)
    assert child.wait(WITHIN_S) == -signal.SIGUSR1  # the first signal that it heard


@pytest.mark.parametrize("lacking", [AttributeError(), OSError(38, "Function not implemented")])
def test_a_kernel_without_handles_for_processes(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, lacking: Exception
) -> None:
    def none(_: int) -> int:
        raise lacking

    monkeypatch.setattr(os, "pidfd_open", none)
    start = processes.start_ticks(child.pid)
    assert start is not None
    assert not processes.send_to(child.pid, start - 1, signal.SIGKILL)
    assert processes.send_to(child.pid, start, signal.SIGKILL)
    assert child.wait(WITHIN_S) == -signal.SIGKILL


def test_children_are_found_with_their_start_times(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = processes.start_ticks(child.pid)
    assert start is not None
    assert processes.started_by(os.getpid())[child.pid] == start
    looks = [[], [child.pid]]  # another had the number at the first look
    monkeypatch.setattr(processes, "children", lambda _: looks.pop())
    assert processes.started_by(os.getpid()) == {}


def test_a_number_that_another_process_has_by_now_is_no_descendant(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = processes.start_ticks(child.pid)
    # The child is there at the first look only; then, below a child that has ended since, there is another's.
    for looks, starts, expected in (
        ([[], [child.pid]], [start], {}),
        ([[2], [2], [child.pid], [child.pid]], [start, start, 8], {child.pid: start}),
    ):
        shown, told = list(looks), list(starts)
        monkeypatch.setattr(processes, "children", lambda _, shown=shown: shown.pop() if shown else [])
        monkeypatch.setattr(processes, "start_ticks", lambda _, told=told: told.pop(0))
        assert processes.descendants(os.getpid()) == expected


@pytest.mark.parametrize("listed", [True, False])
def test_what_is_below_a_process_ends_whatever_its_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: bool
) -> None:
    """Two generations in sessions of their own; another child is to stay. Also where the kernel lists no children."""
    if not listed:
        exists, read = os.path.exists, Path.read_text

        def unlisted(path: Path) -> str:
            if path.name == "children":
                raise FileNotFoundError(path)
            return read(path)

        monkeypatch.setattr(os.path, "exists", lambda path: not str(path).endswith("/children") and exists(path))
        monkeypatch.setattr(Path, "read_text", unlisted)
    words = ["setsid", "env", "-i", "/bin/sh", "-c", "/bin/sleep 1000 & echo $!; wait"]
    stays = subprocess.Popen(["/bin/sleep", "1000"])
    with subprocess.Popen(words, stdout=subprocess.PIPE) as below:
        try:
            assert below.stdout is not None
            grandchild = int(below.stdout.readline())
            watched = os.pidfd_open(grandchild)
            assert {below.pid, grandchild, stays.pid} <= set(processes.descendants(os.getpid()))
            ours = processes.children(os.getpid())
            besides = [pid for pid in ours if pid != below.pid]  # such as the test runner's own

            def reap(_: float) -> None:
                below.poll()

            left = processes.end(tmp_path, grace_s=0.0, besides=besides, under=os.getpid(), wait=reap)
            assert left == 0
            # Its parent is gone, and this process is no subreaper: it may be ending still.
            assert is_readable(watched, WITHIN_S)
            assert stays.poll() is None
        finally:
            stays.kill()
            stays.wait(WITHIN_S)
            os.close(watched)


def test_a_command_that_dies_with_its_parent() -> None:
    """Started by a process with several threads, without a line of Python between fork and exec."""
    code = (
        "import os, subprocess, sys, threading; from motley.trainer.host import processes; "
        "threading.Thread(target=threading.Event().wait, daemon=True).start(); "
        "child = subprocess.Popen(processes.dying_with(os.getpid(), ['/bin/sh', '-c', 'echo $$; exec sleep 1000'])); "
        "sys.stdin.read(); os._exit(0)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        handle = os.pidfd_open(pid)
        assert not is_readable(handle, 0.0)
        parent.stdin.close()
        assert is_readable(handle, WITHIN_S)
        os.close(handle)


def test_a_command_whose_parent_has_ended_already_does_not_begin() -> None:
    done = subprocess.run(processes.dying_with(1, ["/bin/echo", "begun"]), capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")

"""A script that is slowed down: it is stopped and continued, and nobody else is."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from motley.trainer.host import processes
from motley.trainer.supervisor.duty_cycle import DutyCycle

WITHIN_S = 60.0
HEARD = os.WUNTRACED | os.WCONTINUED


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as child:
        yield child
        child.kill()


def slowed(pid: int, start: int, seen: Callable[[], bool], *, most: int) -> bool:
    """Whatever was started then under that number, until it is `seen` that it heard of it, or for `most` cycles."""
    begun: queue.SimpleQueue[None] = queue.SimpleQueue()

    def found() -> dict[int, int]:
        begun.put(None)
        return {pid: start}

    duty = DutyCycle(0.5, found)
    duty.start()
    cycles = 0
    while not seen() and cycles < most:
        begun.get(timeout=WITHIN_S)
        cycles += 1
    duty.stop()
    return cycles < most


def test_a_script_is_stopped_and_runs_again(child: subprocess.Popen[bytes]) -> None:
    start = processes.start_ticks(child.pid)
    assert start is not None
    assert slowed(
        child.pid, start, lambda: os.waitpid(child.pid, os.WCONTINUED | os.WNOHANG)[0] == child.pid, most=5000
    )
    assert Path(f"/proc/{child.pid}/stat").read_text().split()[2] in "RSD"


def test_whoever_has_the_number_of_a_script_by_now_is_not_stopped(child: subprocess.Popen[bytes]) -> None:
    """The script is reaped by the process that started it, at any time."""
    start = processes.start_ticks(child.pid)
    assert start is not None
    assert not slowed(child.pid, start - 1, lambda: os.waitpid(child.pid, HEARD | os.WNOHANG)[0] == child.pid, most=100)

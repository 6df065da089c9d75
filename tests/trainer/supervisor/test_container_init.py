"""The first process of a rank's container, without one: it hands on signals and exit codes, and ends with the lock."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from motley.trainer.host.paths import HERE

LINGERS = ["link", "--listen", "127.0.0.1"]  # waits for its standard input


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[int]:
    """Held, as by a supervisor; the path is tmp_path / "lock"."""
    held = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    yield held
    os.close(held)


def start(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "motley.trainer", "contained", "--lock", str(tmp_path / "lock"), *words],
        cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def children(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


def await_rank(process: subprocess.Popen[str]) -> None:
    while process.poll() is None and not children(process.pid):
        os.sched_yield()


@pytest.mark.usefixtures("lock")
def test_it_ends_as_the_rank_does(tmp_path: Path) -> None:
    with start(tmp_path, "clean", "--host", "box1") as process:
        assert process.communicate(timeout=30)[0].startswith('{"items": [')
        assert process.returncode == 0
    with start(tmp_path, "nonsense") as process:
        assert "invalid choice" in process.communicate(timeout=30)[1]
        assert process.returncode == 2


@pytest.mark.usefixtures("lock")
def test_term_reaches_the_rank_and_its_signal_is_told(tmp_path: Path) -> None:
    with start(tmp_path, *LINGERS) as process:
        await_rank(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM


def test_it_ends_when_the_supervisor_has_ended(tmp_path: Path, lock: int) -> None:
    with start(tmp_path, *LINGERS) as process:
        await_rank(process)
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert process.wait(30) == 1
        assert "no supervisor holds the lock of this run" in process.communicate(timeout=30)[1]


def test_it_does_not_stay_where_no_supervisor_is_seen(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    with start(tmp_path, *LINGERS) as process:
        assert process.wait(30) == 1

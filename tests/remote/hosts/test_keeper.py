"""A keeper and those who ask it, as on a node: real processes, without Slurm between them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from motley.trainer.keeper import ask_keeper

ROOT = Path(__file__).resolve().parents[3] / "trainer" / "keeper"
Ask = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def keeper(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """One that waits for 60 s, and after a run for none."""
    words = [sys.executable, str(ROOT / "keep_node.py"), name_of(request.node.name), "60", "0"]
    environment = {**os.environ, "SLURM_PROCID": "0"}
    with subprocess.Popen(words, env=environment) as process:
        yield process
        process.kill()


@pytest.fixture
def ask(request: pytest.FixtureRequest, keeper: subprocess.Popen[bytes]) -> Iterator[Ask]:  # noqa: ARG001
    with contextlib.ExitStack() as stack:

        def asked(line: str) -> subprocess.Popen[bytes]:
            words = [sys.executable, str(ROOT / "ask_keeper.py"), name_of(request.node.name), "30", line]
            pipe = subprocess.PIPE
            return stack.enter_context(subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe))

        yield asked


def name_of(test: str) -> str:
    return f"motley-{os.getpid()}-{test}"


def test_a_command_has_the_streams_and_the_end_of_who_asks(ask: Ask) -> None:
    process = ask("cat; echo told >&2; exit 3")

    out, told = process.communicate(b"x" * 300_000, timeout=60)

    assert (process.returncode, len(out), told) == (3, 300_000, b"told\n")


def test_it_has_nothing_of_slurm_s_in_its_environment(ask: Ask) -> None:
    out, _ = ask('echo "$SLURM_PROCID/$HOME"; pwd').communicate(timeout=60)

    home = os.path.realpath(subprocess.run(["sh", "-c", "echo ~root"], capture_output=True, text=True).stdout.strip())
    if os.getuid() == 0:
        assert out.decode().split() == [f"/{home}", home]


def test_a_signal_ends_it_as_a_shell_says(ask: Ask) -> None:
    process = ask("kill -9 $$")

    process.communicate(timeout=60)
    assert process.returncode == 137


def test_a_command_ends_when_nobody_waits_for_it_any_more(ask: Ask) -> None:
    process = ask("echo $$; exec sleep 1000")
    assert process.stdout is not None
    pid = int(process.stdout.readline())

    process.kill()
    process.communicate()

    until(lambda: not Path(f"/proc/{pid}").exists())


def test_what_detaches_itself_is_kept_and_the_keeper_ends_after_it(ask: Ask, keeper: subprocess.Popen[bytes]) -> None:
    process = ask("setsid sh -c 'echo $$; exec sleep 1000' & sleep 1")
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.wait(timeout=60)
    assert Path(f"/proc/{pid}").exists()
    until(lambda: f"\nPPid:\t{keeper.pid}\n" in Path(f"/proc/{pid}/status").read_text())
    another = ask("true")
    assert (another.communicate(timeout=60), another.returncode) == ((b"", b""), 0)

    os.kill(pid, signal.SIGKILL)

    assert keeper.wait(timeout=60) == 0


HEEDS = """\
import os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: os._exit(open(sys.argv[1], "w").write("told") and 0))
open(sys.argv[1] + ".there", "w").close()
signal.pause()
"""


def test_that_the_job_ends_soon_it_tells_those_who_heed_it_and_nobody_else(ask: Ask, tmp_path: Path) -> None:
    """The others go on as they were: the signal would end them."""
    heeds, told = tmp_path / "heeds.py", tmp_path / "told"
    heeds.write_text(HEEDS)
    detached = f"setsid {sys.executable} {heeds} {told} </dev/null >/dev/null 2>&1 &"
    assert ask(detached).wait(timeout=60) == 0
    until((tmp_path / "told.there").exists)
    other = ask("echo there; exec sleep 1000")
    assert other.stdout is not None
    assert other.stdout.readline() == b"there\n"

    assert ask("kill -s USR1 $PPID").wait(timeout=60) == 0

    until(told.exists)
    assert other.poll() is None
    other.kill()
    other.communicate()


def test_in_a_job_that_was_started_again_it_takes_the_run_up(tmp_path: Path) -> None:
    folder = tmp_path / ".motley/runs/night/fast-2"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps({"code": "/the/code", "python": "/usr/bin/python3"}))
    asked = ["night", "fast-1,fast-2", "fast-1", "10.0.0.7"]
    text = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import keep_node; print(keep_node.going_on(*sys.argv[1:]))"

    def going_on(home: Path, *words: str) -> str:
        environment = {**os.environ, "SLURM_NODEID": "1"}
        done = subprocess.run([sys.executable, "-c", text, str(home), *words], env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    line = going_on(tmp_path, *asked, "2")
    assert "cd /the/code && exec /usr/bin/python3 -m motley.trainer requeued" in line
    assert "--run night --host fast-2 --leader fast-1 --address 10.0.0.7 --restarts 2" in line
    assert going_on(tmp_path / "elsewhere", *asked, "2") == "None\n"


def test_a_command_that_has_ended_at_once_has_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before who asks has done anything after its question."""
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(os, "close", lambda _stream: None)

    class Quick:
        """A keeper that has answered and hung up when the question is asked."""

        def sendmsg(self, *said: Any) -> int:
            sent = ours.sendmsg(*said)
            theirs.recv(4096)
            theirs.sendall(b"3\n")
            theirs.close()
            return sent

        def __getattr__(self, name: str) -> Any:
            return getattr(ours, name)

    with ours:
        connection: Any = Quick()
        assert ask_keeper.asked(connection, "true") == 3


def test_without_a_keeper_it_is_said() -> None:
    words = [sys.executable, str(ROOT / "ask_keeper.py"), "motley-there-is-none", "0", "true"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stderr) == (255, "motley: no keeper answers on this node\n")


def until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.02)

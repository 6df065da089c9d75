"""The terminal goes away under the console: that is `q`."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.console.test_cli import ROOT

WITHIN_S = 60.0
PROGRAM = """
import json, sys
from motley.console.commands import run
from motley.console.tui.app import MotleyApp
from tests.console import scripted

plan, sessions = scripted.plan(hold=True, steps=60)
code = run.follow(plan, plain=False)
json.dump({"code": code, "calls": sessions[0].calls}, open(sys.argv[1], "w"))
"""


@pytest.mark.parametrize("told", [True, False], ids=["SIGHUP comes", "only the input ends"])
def test_a_terminal_that_goes_away_leaves_the_run_and_ends_the_console(tmp_path: Path, told: bool) -> None:
    """Under `make` the console has no SIGHUP of it: it is not the leader of the session."""
    ours, theirs = os.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, b"\x18\x00\x50\x00\x00\x00\x00\x00")

    def take() -> None:
        os.setsid()
        if told:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    env = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "PATH": os.environ["PATH"], "TERM": "xterm-256color"}
    done = tmp_path / "done.json"
    argv = [sys.executable, "-c", PROGRAM, str(done)]
    process = subprocess.Popen(argv, cwd=ROOT, env=env, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=take)
    os.close(theirs)
    try:
        shown = b""
        while b"step 60" not in shown:
            assert select.select([ours], [], [], WITHIN_S)[0], shown
            shown += os.read(ours, 65536)
        os.close(ours)
        assert process.wait(WITHIN_S) == 0
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert json.loads(done.read_text()) == {"code": 0, "calls": ["launch", "close"]}

"""A verb looks whether the supervisor is still there and signals it: if it ends in between, and another process has its
number by then, that one hears nothing."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from motley.trainer.contract.spec import Spec
from motley.trainer.host import processes
from motley.trainer.host.paths import HERE, run_folder, write_json
from motley.trainer.verbs.lead import wake
from motley.trainer.verbs.rerun import rerun
from motley.trainer.verbs.stop import stop
from tests.trainer.coordinating import spec

WITHIN_S = 60.0
WAITS = (
    "import signal; signal.signal(signal.SIGCHLD, lambda *_: exit(1)); "
    "signal.signal(signal.SIGTERM, lambda *_: exit(1)); signal.signal(signal.SIGRTMIN, lambda *_: exit(7)); "
    "print(flush=True); signal.pause()"
)


@pytest.fixture
def given() -> Spec:
    return spec(1)


@pytest.fixture
def another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Spec) -> Iterator[subprocess.Popen[bytes]]:
    """It has the number of the run's supervisor, which has ended since the look: a look there finds it no more."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        start = processes.start_ticks(child.pid)
        assert start is not None
        folder = run_folder(given.run, given.host)
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text(given.to_json())
        state = {
            "state": "running", "pid": child.pid, "start": start - 1, "boot_id": processes.boot_id(), "forks": 1,
            "code": str(HERE), "python": sys.executable,
        }  # fmt: skip
        write_json(folder / "state.json", state)
        yield child
        child.kill()
        child.wait(WITHIN_S)


@pytest.mark.parametrize(("verb", "looks"), [("stop", 2), ("lead", 1), ("rerun", 2)])
def test_whoever_has_the_supervisors_number_by_now_hears_nothing(
    another: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, given: Spec, verb: str, looks: int
) -> None:
    """`looks`: how often the supervisor was still there, up to the signal."""
    left = [True] * looks
    monkeypatch.setattr(processes, "same_process", lambda *_: bool(left) and left.pop())
    if verb == "stop":
        assert stop(given.run, given.host, "enough")["state"] == "stopped"
    elif verb == "lead":
        wake(run_folder(given.run, given.host))
    else:
        new, answers = dataclasses.replace(given, run="day"), io.StringIO()
        assert rerun(given.run, given.host, io.BytesIO(new.to_json().encode() + b"\ngo\n"), answers) == 1
        said = [json.loads(line) for line in answers.getvalue().splitlines()]
        assert said == [{"ok": True}, {"ok": False, "why": "its supervisor has ended"}]
    assert left == []
    os.kill(another.pid, signal.SIGRTMIN)  # it is still there, and has heard none with a lower number before
    assert another.wait(WITHIN_S) == 7

"""Trackers from the console's side: a sink of the test's own, in real processes that are killed, hang and refuse."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from motley.console.tracking.kept_progress import KeptProgress
from motley.console.tracking.tracker_processes import TrackerProcesses
from motley.trainer.contract.wire import encode
from tests.console.report.experiments import group, step, write

SOON_S = 60.0
SINK = '''
"""Stands in for TensorBoard: writes lines to a file, and does what a file beside it asks for."""
import json, os, time
from motley.console.tracking.sink import SinkError

class Lines:
    def __init__(self, info):
        self.path = info.folder / "lines"
        if (info.folder / "refuse").exists():
            raise SinkError("the server at http://me:word@box says no to " + os.environ["A_TEST_TOKEN"])
        self.wish = info.folder / "hang"
        self.where = f"less {self.path}"
        self.identity = {}

    def last_steps(self):
        return None

    def marks(self):
        return None

    def write(self, points, marks):
        if self.wish.exists():
            time.sleep(60)
        with self.path.open("a") as file:
            for point in points:
                file.write(json.dumps([point.step, point.values["train/loss"]]) + "\\n")

    def finish(self, state, figures):
        with self.path.open("a") as file:
            file.write(json.dumps(["end", state]) + "\\n")

open_sink = Lines
'''


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the processes find in place of the sink for TensorBoard."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/lines_sink.py").write_text(SINK)
    start = "import sys, lines_sink; sys.modules['motley.console.tracking.sinks.tensorboard_sink'] = lines_sink"
    (tmp_path / "site/motley_stand_in.pth").write_text(start)
    hook = f"import site; site.addsitedir({str(tmp_path / 'site')!r})"
    (tmp_path / "site/sitecustomize.py").write_text(hook)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), *sys.path]))
    monkeypatch.setenv("A_TEST_TOKEN", "hush-hush")


def soon(true: Callable[[], object], what: str) -> None:
    due = time.monotonic() + SOON_S
    while not true():
        assert time.monotonic() < due, what
        time.sleep(0.02)


def lines(folder: Path) -> list[str]:
    path = folder / "lines"
    return path.read_text().splitlines() if path.exists() else []


def pid(folder: Path) -> int:
    return KeptProgress.read(folder, "tensorboard").pid


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    stand_in(tmp_path, monkeypatch)
    return write(tmp_path / "night", [group()], [*step(1), *step(2)])


def begun(folder: Path) -> tuple[TrackerProcesses, list[str]]:
    said: list[str] = []
    trackers = TrackerProcesses(
        ["tensorboard"], folder, project="desk", mode="", say=lambda text, level: said.append(f"{level}: {text}")
    )
    trackers.start()
    return trackers, said


def grow(folder: Path, number: int) -> None:
    for line in step(number):
        with (folder / f"logs/rank_{line.member}_metrics.jsonl").open("ab") as file:
            file.write(encode(line))


def test_killed_it_is_started_again_and_writes_no_step_twice(folder: Path) -> None:
    trackers, said = begun(folder)
    soon(lambda: KeptProgress.read(folder, "tensorboard").last.get("train/loss") == 2, "two steps")
    first = pid(folder)
    soon(lambda: said, "where it is")
    os.kill(first, signal.SIGKILL)
    grow(folder, 3)
    soon(lambda: KeptProgress.read(folder, "tensorboard").last.get("train/loss") == 3, "the third step")
    assert pid(folder) != first
    (folder / "summary.json").write_text('{"state": "stopped", "steps": 3}')
    assert trackers.wait(SOON_S) == []
    assert lines(folder) == ["[1, 1.0]", "[2, 1.0]", "[3, 1.0]", '["end", "stopped"]']
    assert said[:2] == [
        f"info: the figures go to tensorboard, too: less {folder / 'lines'}",
        "warning: tensorboard ended (killed by signal 9): it is started again, the run is not touched",
    ]


def test_killed_twice_it_is_given_up_with_a_word(folder: Path) -> None:
    trackers, said = begun(folder)
    killed = {0}
    for _ in range(2):
        soon(lambda: pid(folder) not in killed, "a process")
        killed.add(pid(folder))
        os.kill(pid(folder), signal.SIGKILL)
        soon(lambda: any("ended" in line for line in said), "its end")
    assert trackers.wait(SOON_S) == []
    assert said[-1] == (
        "warning: tensorboard has ended again (killed by signal 9): nothing more goes to it. "
        "Later: motley track night --with tensorboard"
    )


def test_when_the_console_goes_it_writes_the_rest_and_the_run_goes_on(folder: Path) -> None:
    trackers, _ = begun(folder)
    soon(lambda: KeptProgress.read(folder, "tensorboard").last.get("train/loss") == 2, "two steps")
    grow(folder, 3)
    trackers.leave()
    assert trackers.wait(SOON_S) == []
    assert lines(folder)[2:] == ["[3, 1.0]", '["end", ""]']
    assert KeptProgress.read(folder, "tensorboard").state == "left"


def test_what_refuses_is_not_tried_again_and_nothing_secret_is_said(folder: Path) -> None:
    (folder / "refuse").touch()
    trackers, said = begun(folder)
    assert trackers.wait(SOON_S) == []
    assert said == [
        "warning: tensorboard is not written to: the server at http://***@box says no to ***. When that is mended: "
        "motley track night --with tensorboard"
    ]
    assert "hush" not in (folder / "track/tensorboard.json").read_text()


def test_what_hangs_is_ended(folder: Path) -> None:
    (folder / "hang").touch()
    words = [sys.executable, "-m", "motley.console.tracking", "tensorboard", str(folder), "--project", "desk"]
    done = subprocess.run([*words, "--stall", "1"], stdin=subprocess.DEVNULL, timeout=SOON_S, check=False)
    assert done.returncode == 1
    kept = KeptProgress.read(folder, "tensorboard")
    assert (kept.state, kept.cause) == ("failed", "it did not answer for 1 s")


def test_two_consoles_write_once(folder: Path) -> None:
    (folder / "summary.json").write_text('{"state": "finished"}')
    both = [begun(folder)[0], begun(folder)[0]]
    assert [trackers.wait(SOON_S) for trackers in both] == [[], []]
    assert lines(folder) == ["[1, 1.0]", "[2, 1.0]", '["end", "finished"]']

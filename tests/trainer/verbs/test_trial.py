"""Trying a task or a script on a host, as the master asks for it: what it answers, and that nothing is left of it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from motley.trainer.contract.calibration import Calibration
from motley.trainer.contract.script import Script
from motley.trainer.contract.spec import DataOptions, RunOptions
from motley.trainer.host import processes
from motley.trainer.trials.own_folder import own_folder
from motley.trainer.trials.script_process import last_error, place
from tests.trainer.trained import NIGHT, own_project

ROOT = Path(__file__).resolve().parents[3]
BOUND_S = 100.0
ASKED = Calibration(options=RunOptions(), data=DataOptions(), device="cpu", batch=32, share=16, emulated=True, steps=2)
SCRIPT = Script(path="train.py", args=("--lr", "0.1"), tree="77aa", port=1)
Start = Callable[..., "Trying"]


class Trying:
    """The verb under way."""

    def __init__(self, asked: Calibration, home: Path, verb: str = "trial", **env: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "motley.trainer", verb], cwd=ROOT, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env={"HOME": str(home), "PATH": os.environ["PATH"], **env}, bufsize=0,
        )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self._stdout = self.process.stdin, self.process.stdout
        self.stdin.write(asked.to_json().encode() + b"\n")

    def until(self, key: str) -> dict[str, Any]:
        while True:
            assert select.select([self._stdout], [], [], BOUND_S)[0], f"it said nothing for {BOUND_S:.0f} s"
            line = self._stdout.readline()
            assert line, f"it ended without {key}"
            table: dict[str, Any] = json.loads(line)
            if key in table:
                return table

    def ended(self) -> int:
        return self.process.wait(BOUND_S)


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    running: list[Trying] = []

    def started(asked: Calibration, verb: str = "trial", **env: str) -> Trying:
        running.append(Trying(asked, home, verb, **env))
        return running[-1]

    yield started
    for trying in running:
        with trying.process:
            trying.process.kill()


def of_script(home: Path, text: str, **changes: Any) -> Calibration:
    folder = home / ".motley/code/77aa"
    folder.mkdir(parents=True)
    (folder / "train.py").write_text(text)
    (folder / "net.py").write_text("def forward():\n    raise ValueError('no such layer')\n")
    return dataclasses.replace(ASKED, script=SCRIPT, **changes)


@pytest.mark.ranks
def test_two_steps_of_a_task_of_ours_say_what_they_took(start: Start) -> None:
    trying = start(ASKED)
    result = trying.until("result")["result"]
    assert trying.ended() == 0
    assert (result["steps"], result["samples"], result["pass_limit"], result["total_mib"]) == (2, 16, None, None)
    assert result["first_ms"] > 0
    assert result["step_ms"] > 0
    assert result["memory_mib"] > 50  # torch alone takes more


TEST_DATA = '    def test_data(self):\n        raise KeyError("no such word")\n'
METRICS = """\
    def test_data(self):
        return self.train_data()

    def metrics(self, outputs, targets):
        return {"accuracy": outputs.best()}

"""


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        pytest.param("functional.cross", "functional.krass", "night.py:21: AttributeError", marks=pytest.mark.longest),
        ("    def loss", f"{TEST_DATA}\n    def loss", "night.py:21: KeyError: 'no such word'"),
        ("    def metadata", f"{METRICS}    def metadata", "night.py:27: AttributeError"),  # met at the end of an epoch
        (
            "nn.functional.cross_entropy(outputs, targets)",
            "outputs",
            "night.py:20: Night.loss gives a tensor of shape (16, 8)",
        ),
    ],
)
def test_what_a_task_of_the_user_s_own_raises_names_file_and_line(
    start: Start, home: Path, old: str, new: str, cause: str
) -> None:
    text = NIGHT.replace("(30.0).reshape(10", "(90.0).reshape(30").replace("(10) %", "(30) %").replace(old, new, 1)
    asked = dataclasses.replace(ASKED, options=RunOptions(task="night.py"), own_task=own_project(home, text))
    trying = start(asked)
    error = trying.until("error")["error"]
    assert error[: len(cause)] == cause
    assert trying.ended() == 1


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("parameters", "cause", "remedy"),
    [
        ({"widht": 3}, "[task] widht: Night.Options has no such parameter", "Did you mean width?"),
        ({"width": "a"}, "[task] width = 'a': Night.Options wants int", "Change it in cluster.toml"),
        ({"width": 3}, "", ""),
    ],
)
def test_a_task_is_made_and_its_parameters_are_checked_without_a_step(
    start: Start, home: Path, parameters: dict[str, Any], cause: str, remedy: str
) -> None:
    """It reads no data; what the file prints does not get in the way of the answer."""
    text = NIGHT.replace('a greeting")', 'no end of a line", end="")')
    text = text.replace(
        "        return torch.arange(30.0)", "        raise OSError('read')\n        return torch.arange(30.0)"
    )
    own = own_project(home, text, **parameters)
    asked = dataclasses.replace(ASKED, options=RunOptions(task="night.py"), own_task=own, steps=0)
    trying = start(asked)
    if cause:
        assert trying.until("error") == {"error": cause, "remedy": remedy}
    else:
        assert trying.until("result") == {"result": {"steps": 0}}
    assert trying.ended() == int(bool(cause))


SPAWNS = """
import os, subprocess, sys, time
for words in (["sleep", "600"], ["setsid", "sleep", "600"]):
    subprocess.Popen(words)
open("written here", "w").write(os.environ["WORLD_SIZE"] + os.environ["MOTLEY_DIR"])
print(sys.argv[1:], flush=True)
time.sleep(600)
"""


def test_a_script_is_ended_when_its_time_is_up_with_all_that_it_started(start: Start, home: Path) -> None:
    trying = start(of_script(home, SPAWNS, run_s=1.0), MARK="trial-of-a-test")
    result = trying.until("result")["result"]
    assert trying.ended() == 0
    assert (result["steps"], result["ended"]) == (None, False)
    assert result["seconds"] >= 1.0
    assert result["memory_mib"] > 0
    assert bearing(b"MARK=trial-of-a-test") == []
    assert list((home / ".motley/trials").iterdir()) == []
    assert sorted(path.name for path in (home / ".motley/code/77aa").iterdir()) == ["net.py", "train.py"]


def test_a_script_goes_when_nobody_waits_for_it_any_more(start: Start, home: Path) -> None:
    trying = start(of_script(home, SPAWNS, run_s=600.0), MARK="trial-that-is-left")
    trying.until("note")
    written = home / ".motley/trials"
    while not list(written.glob("*/project/written here")):
        assert trying.process.poll() is None
    while len(bearing(b"MARK=trial-that-is-left")) < 5:  # the verb, its child, the script, two of its own
        assert trying.process.poll() is None
    trying.stdin.close()
    assert trying.ended() == 1
    assert bearing(b"MARK=trial-that-is-left") == []
    assert list(written.iterdir()) == []


def test_a_script_that_ends_by_itself_and_one_that_fails(start: Start, home: Path) -> None:
    asked = of_script(home, "import sys, motley\nassert sys.argv[1:] == ['--lr', '0.1']\n")  # motley: as in a run
    assert start(asked).until("result")["result"]["ended"] is True
    (home / ".motley/code/77aa/train.py").write_text("import net\n\nnet.forward()\n")
    trying = start(asked)
    assert trying.until("error") == {
        "error": "net.py:2: ValueError: no such layer",
        "remedy": "Mend it, and check again",
    }
    assert trying.ended() == 1
    (home / ".motley/code/77aa/train.py").write_text("x = 1\nx.y()\n")
    assert start(asked).until("error")["error"].startswith("train.py:2: AttributeError: 'int' object has no")
    (home / ".motley/code/77aa/train.py").write_text("import sys\nsys.exit(7)\n")
    assert start(asked).until("error")["error"] == "train.py ended with exit code 7"
    (home / ".motley/code/77aa/train.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    assert start(asked).until("error")["error"] == "train.py was ended by the system (SIGKILL)"


def test_folders_of_trials_that_were_killed_go_and_others_stay(home: Path) -> None:
    trials = home / ".motley/trials"
    boot = processes.boot_id()
    child = subprocess.Popen(["sleep", "600"])
    for name in (f"{boot}-999999999", f"{boot}-{child.pid}", "another-boot-1", "another-boot-2"):
        (trials / name).mkdir(parents=True)
    os.utime(trials / "another-boot-2", (1.0, 1.0))
    with own_folder() as folder:
        assert sorted(path.name for path in trials.iterdir()) == sorted(
            [f"{boot}-{child.pid}", "another-boot-1", folder.name]
        )
    assert not folder.exists()
    child.kill()
    child.wait()


BEGIN = "Traceback (most recent call last):\n"
LIBRARY = '  File "/lib/x.py", line 9\n'


@pytest.mark.parametrize(
    ("printed", "error", "where"),
    [
        ("", "", ""),
        ("bye\n", "bye", ""),
        (f'{BEGIN}  File "/p/a b.py", line 3, in <module>\nmy.Error: no\nbye', "my.Error: no", "a b.py:3"),
        (f'{BEGIN}  File "/p/a.py", line 3\n{LIBRARY}ValueError: x', "ValueError: x", "a.py:3"),
        (f'File "/p/a.py", line 3\n{BEGIN}{LIBRARY}KeyError', "KeyError", ""),
        ('  File "train.py", line 31\n    x = = 1\nSyntaxError: no', "SyntaxError: no", "train.py:31"),
    ],
)
def test_an_error_is_told_by_its_last_line_and_the_user_s_own_place(printed: str, error: str, where: str) -> None:
    assert (last_error(printed), place(printed, Path("/p"))) == (error, where)


def bearing(mark: bytes) -> list[int]:
    """Processes with this in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            environ = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
            if mark in environ.split(b"\0") and processes.start_ticks(int(entry.name)) is not None:
                found.append(int(entry.name))
    return found


def test_a_request_arrives_as_it_was_sent() -> None:
    asked = dataclasses.replace(ASKED, script=SCRIPT, run_s=3.0, folder="/f")
    assert Calibration.from_json(asked.to_json()) == asked
    assert (asked.project_tree, ASKED.project_tree) == ("77aa", "")


def test_what_a_killed_child_leaves_is_told(start: Start, home: Path) -> None:
    trying = start(of_script(home, SPAWNS, run_s=600.0))
    trying.until("note")
    children = processes.children(trying.process.pid)
    os.kill(children[0], signal.SIGKILL)
    assert trying.until("error")["error"] == "the trial was ended by the system (SIGKILL)"
    assert trying.ended() == 1
    assert list((home / ".motley/trials").iterdir()) == []

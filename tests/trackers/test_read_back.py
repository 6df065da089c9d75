"""Each tracker holds what the run told, by its own reader; killed half-way, once and no more than once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from motley.console.tracking.kept_progress import KeptProgress
from motley.console.tracking.trackers import TRACKERS, installed
from tests.support.absent import not_here
from tests.trackers.read_back import READERS, same
from tests.trackers.recorded_run import METRICS, Growing, expected, folder_of_run

SOON_S = 120.0
KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(params=list(TRACKERS))
def tracker(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if not installed(name):
        if name == "tensorboard":
            not_here("no tensorboard here: `make libraries` installs it")
        pytest.skip(f"no {name} here")
    return name


def environment(place: Path) -> dict[str, str]:
    """No account, nothing of the user's own, and no network."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "MLFLOW", "TRACKIO"))}
    return {**mine, "HOME": str(place), "WANDB_MODE": "offline", "WANDB_API_KEY": KEY, "HF_HUB_OFFLINE": "1"}


@contextmanager
def writing(tracker: str, folder: Path, *options: str, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-m", "motley.console.tracking", tracker, str(folder), "--project", "desk", *options]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, env=environment(home))
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def written(process: subprocess.Popen[bytes], tracker: str, folder: Path, step: int) -> None:
    """Wait until the steps up to this one are written, which the process leaves a word of."""
    due = time.monotonic() + SOON_S
    while (kept := KeptProgress.read(folder, tracker)).last.get("train/loss") != step:
        assert process.poll() is None, kept.cause
        assert time.monotonic() < due, kept
        time.sleep(0.02)


def check(tracker: str, folder: Path) -> None:
    held, wanted = READERS[tracker](folder), expected()
    for metric in METRICS:
        assert same(held.by_step(metric), wanted[metric], single=tracker == "tensorboard"), metric
    assert held.by_step("eval/accuracy") == {100: 0.75}
    assert dict(held.by_step("group/ranks"))[120] == 2
    assert dict(held.by_step("group/ranks"))[121] == 1
    assert sum("laptop is lost: no sign of life" in mark for mark in held.marks) == 1
    assert sum("goes on with 1 rank" in mark for mark in held.marks) == 1
    assert held.settings["run.epochs"] == "5"
    assert held.state == "finished"
    files = [path for path in folder.parent.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_killed_half_way_it_goes_on_and_nothing_is_there_twice(tracker: str, tmp_path: Path) -> None:
    run = Growing(tmp_path)
    run.grow(90)
    with writing(tracker, run.folder, "--follow", home=tmp_path) as process:
        written(process, tracker, run.folder, 90)
        run.grow(130)
        written(process, tracker, run.folder, 130)
        process.send_signal(signal.SIGKILL)
        process.wait()
    run.grow(160)
    with writing(tracker, run.folder, "--follow", home=tmp_path) as process:
        written(process, tracker, run.folder, 160)
        run.grow(200)
        run.end()
        assert process.wait(SOON_S) == 0
    assert KeptProgress.read(run.folder, tracker).state == "ended"
    check(tracker, run.folder)


def test_a_run_that_has_ended_is_written_whole_and_again_changes_nothing(tracker: str, tmp_path: Path) -> None:
    folder = folder_of_run(tmp_path)
    for _ in range(2):
        with writing(tracker, folder, home=tmp_path) as process:
            assert process.wait(SOON_S) == 0
    check(tracker, folder)


def test_trackio_writes_its_database_on_a_network_home_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself it would leave fragments there, which only its dashboard reads."""
    if not installed("trackio"):
        pytest.skip("no trackio here")
    folder = folder_of_run(tmp_path)
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(
        f"import os\nos.environ['TRACKIO_DIR'] = {str(folder.parent / 'trackio')!r}\n"
        "import trackio.utils\ntrackio.utils.is_network_filesystem = lambda *_: True\n"
    )
    with monkeypatch.context() as patched:
        patched.setenv("PYTHONPATH", f"{tmp_path / 'site'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        with writing("trackio", folder, home=tmp_path) as process:
            assert process.wait(SOON_S) == 0
    check("trackio", folder)


def test_where_it_can_not_write_it_says_so(tmp_path: Path) -> None:
    folder = folder_of_run(tmp_path)
    (folder / "tensorboard").write_text("in the way")
    with writing("tensorboard", folder, home=tmp_path) as process:
        assert process.wait(SOON_S) == 1
    kept = KeptProgress.read(folder, "tensorboard")
    assert kept.state == "failed"
    assert str(folder / "tensorboard") in kept.cause

"""`motley report` as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.console.report.experiments import event, group, step, summary, write

ROOT = Path(__file__).resolve().parents[4]


def motley(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "90", "HOME": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", "motley.console", *words],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """Beside no cluster.toml: the folder is enough."""
    lines = [sample for number in range(1, 11) for sample in step(number)]
    lost = event("lost", "laptop is \x1b[31mlost", 1.5, "desktop", "warning", member=1)
    return write(tmp_path / "experiments/night", [group(), lost], lines, told=summary())


def test_it_is_told_on_the_terminal(night: Path) -> None:
    done = motley(night.parents[1], "report", "night")
    assert done.returncode == 0, done.stderr
    for part in ("night: finished after 10 steps", "mlp/digits", "640 samples/s", "goodput", "laptop is lost"):
        assert part in done.stdout
    assert "\x1b" not in done.stdout


def test_a_page_and_json_at_once(night: Path) -> None:
    done = motley(night.parents[1], "report", "night", "--json", "--html", "night.html")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["run"], found["state"], found["steps"]) == ("night", "finished", 10)
    assert found["goodput"]["kept_s"] == pytest.approx(1.0)
    assert (night.parents[1] / "night.html").read_text().startswith("<!doctype html>")


def test_a_run_that_is_not_there_is_a_word_and_code_2(night: Path) -> None:
    done = motley(night.parents[1], "report", "nihgt")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no such experiment; the newest there: night" in done.stderr


def test_runs_are_compared(night: Path) -> None:
    folder = night.parents[1]
    lines = [sample for number in range(1, 11) for sample in step(number, ms=50.0)]
    write(folder / "experiments/day", [group()], lines, told=summary(), toml="[run]\nseed = 3\n")
    done = motley(folder, "compare", "night", "day", "--json", "--html", "both.html", "--by", "time")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["names"], found["by"], found["baseline"]) == (["night", "day"], "time", 0)
    assert {"key": "run.seed", "values": ["0", "3"]} in found["settings"]
    assert "<svg" in (folder / "both.html").read_text()
    shown = motley(folder, "compare", "night", "day", "--baseline", "day")
    assert "2 runs against day" in shown.stdout
    assert motley(folder, "compare", "night").returncode == 2

"""`r` in the console, on four unequal hosts: warm, cold where something has changed, nothing left.

How long each takes: tests/bench/bench_restart.py.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.lab.terminal import Terminal
from tests.lab.test_run import PHASES, START_S, metrics, processes, wait_until
from tests.support.lines import whole_lines

pytestmark = pytest.mark.longest


def restarted(terminal: Terminal, experiments: Path, says: str) -> tuple[Path, float]:
    """Press `r` and confirm: the new run's folder, and how long it was to its first step. It `says` how it began."""
    known = {path.name for path in experiments.iterdir()}
    terminal.press("r")
    terminal.wait_for("A new one goes on")  # before the screen knows of a step it reads otherwise, and `y` answers that
    pressed = time.time()
    terminal.press("y")

    def new() -> list[Path]:
        return [path for path in experiments.iterdir() if path.name not in known and metrics(path, 0)]

    wait_until(lambda: bool(new()), "a step of the new run", START_S)
    (folder,) = new()
    assert [text for text in texts(folder) if says in text], texts(folder)  # on the screen it is until the first step
    return folder, metrics(folder, 0)[0]["time"] - pressed


def supervisor(lab: Lab, host: str, run: str) -> int:
    """Its process there."""
    state = json.loads((lab[host].home / ".motley/runs" / run / host / "state.json").read_text())
    return int(state["pid"])


def texts(folder: Path) -> list[str]:
    return [json.loads(line)["text"] for line in whole_lines(folder / "events.jsonl")]


def summary(folder: Path) -> Any:
    path = folder / "summary.json"
    wait_until(path.exists, f"the summary of {folder.name}", 30.0)
    return json.loads(path.read_text())


def test_r_goes_on_and_says_when_it_has_to_start_cold(lab: Lab, tmp_path: Path) -> None:
    run = {"task": "simple_cnn/digits", "epochs": 100000, "checkpoint_every": 0}
    config = lab.cluster_toml(tmp_path, run=run)
    experiments = tmp_path / "experiments"
    words = lab.motley("run", "-c", str(config), "--name", "night")
    with Terminal(lab, words, cwd=tmp_path, width=120, height=40) as terminal:
        terminal.wait_for("● running", START_S)
        wait_until(lambda: len(metrics(experiments / "night", 0)) > 10, "metrics of the first run")
        supervisors = {host: supervisor(lab, host, "night") for host in lab.hosts}
        day, _ = restarted(terminal, experiments, "warm restart of 'night'")
        last = summary(experiments / "night")["steps"]
        assert processes(lab, "night") == {}
        assert {host: supervisor(lab, host, day.name) for host in lab.hosts} == supervisors
        assert (experiments / "night" / "checkpoints" / "stop.pt").exists()
        assert metrics(day, 0)[0]["step"] == last + 1
        assert "warm restart of 'night': torch is imported already" in texts(day)

        config.write_text(config.read_text() + '[defaults.env]\nCHANGED = "1"\n')
        evening, _ = restarted(terminal, experiments, "cold restart: box1 has changed in cluster.toml")
        assert set(summary(day)["phases"]) == PHASES
        assert processes(lab, day.name) == {}
        terminal.press("x")
        terminal.wait_for("Stop the run?")
        terminal.press("y")
        terminal.wait_for("■ stopped")
        assert processes(lab, evening.name) == {}
        terminal.press("q")
        terminal.wait_for("exit code 4")

"""`r` in the console, on four unequal hosts: warm within seconds, cold where something has changed, nothing left."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.lab.terminal import Terminal
from tests.lab.test_run import PHASES, START_S, metrics, processes, wait_until

pytestmark = pytest.mark.long

WARM_S = 3.0  # from the key to the first step


def restarted(terminal: Terminal, experiments: Path, says: str) -> tuple[Path, float]:
    """Press `r` and confirm: the new run's folder, and how long it was to its first step. The log `says` what it is."""
    known = {path.name for path in experiments.iterdir()}
    terminal.press("r")
    terminal.wait_for("Start a new run?", 5.0)
    pressed = time.time()
    terminal.press("y")
    terminal.wait_for(says, 20.0)

    def new() -> list[Path]:
        return [path for path in experiments.iterdir() if path.name not in known and metrics(path, 0)]

    wait_until(lambda: bool(new()), "a step of the new run", START_S)
    (folder,) = new()
    return folder, metrics(folder, 0)[0]["time"] - pressed


def supervisor(lab: Lab, host: str, run: str) -> int:
    """Its process there."""
    state = json.loads((lab[host].home / ".motley/runs" / run / host / "state.json").read_text())
    return int(state["pid"])


def texts(folder: Path) -> list[str]:
    return [json.loads(line)["text"] for line in (folder / "events.jsonl").read_text().splitlines() if line]


def summary(folder: Path) -> Any:
    path = folder / "summary.json"
    wait_until(path.exists, f"the summary of {folder.name}", 30.0)
    return json.loads(path.read_text())


def test_r_goes_on_within_seconds_and_says_when_it_can_t(lab: Lab, tmp_path: Path) -> None:
    run = {"task": "simple_cnn/digits", "epochs": 100000, "checkpoint_every": 0}
    config = lab.cluster_toml(tmp_path, run=run)
    experiments = tmp_path / "experiments"
    words = lab.motley("run", "-c", str(config), "--name", "night")
    with Terminal(lab, words, cwd=tmp_path, width=120, height=40) as terminal:
        terminal.wait_for("● running", START_S)
        wait_until(lambda: len(metrics(experiments / "night", 0)) > 10, "metrics of the first run")
        supervisors = {host: supervisor(lab, host, "night") for host in lab.hosts}
        day, warm_s = restarted(terminal, experiments, "warm restart of night")
        print(f"warm restart: {warm_s:.2f} s to the first step")
        last = summary(experiments / "night")["steps"]
        assert processes(lab, "night") == {}
        assert {host: supervisor(lab, host, day.name) for host in lab.hosts} == supervisors
        assert (experiments / "night" / "checkpoints" / "stop.pt").exists()
        assert metrics(day, 0)[0]["step"] == last + 1
        assert "warm restart of night: torch is imported already" in texts(day)

        config.write_text(config.read_text() + '[defaults.env]\nCHANGED = "1"\n')
        evening, cold_s = restarted(terminal, experiments, "cold restart: box1 has changed in cluster.toml")
        print(f"cold restart: {cold_s:.2f} s to the first step")
        assert warm_s < WARM_S
        assert warm_s < cold_s / 2
        assert set(summary(day)["phases"]) == PHASES
        assert processes(lab, day.name) == {}
        terminal.press("x")
        terminal.wait_for("Stop the run?", 5.0)
        terminal.press("y")
        terminal.wait_for("■ stopped", 40.0)
        assert processes(lab, evening.name) == {}
        terminal.press("q")
        terminal.wait_for("exit code 4", 15.0)

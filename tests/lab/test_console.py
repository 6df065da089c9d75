"""The console on a real terminal, over real hosts: leaving and coming back, stopping, what it shows when it can't."""

from __future__ import annotations

import re
from pathlib import Path

from tests.lab.lab import Lab
from tests.lab.terminal import Terminal
from tests.lab.test_run import START_S, metrics, processes, wait_until


def test_leaving_keeps_the_run_going_and_x_ends_it_everywhere(brisk_lab: Lab, tmp_path: Path) -> None:
    lab = brisk_lab
    config = lab.cluster_toml(tmp_path, run={"task": "simple_cnn/digits", "epochs": 100000, "checkpoint_every": 0})
    folder = tmp_path / "experiments/night"
    with Terminal(lab, lab.motley("run", "-c", str(config), "--name", "night"), cwd=tmp_path) as terminal:
        screen = terminal.wait_for("● running", START_S)
        assert all(name in screen for name in lab.hosts)
        wait_until(lambda: len(metrics(folder, 0)) > 5, "metrics while the console is open")
        terminal.press("q")
        screen = terminal.wait_for("exit code 0")
        assert '"state": "running"' in screen
    seen = len(metrics(folder, 0))
    assert set(processes(lab, "night")) == set(lab.hosts)

    with Terminal(lab, lab.motley("attach", "-c", str(config)), cwd=tmp_path, width=120, height=40) as terminal:
        terminal.wait_for("● running")
        wait_until(lambda: len(metrics(folder, 0)) > seen + 20, "metrics after coming back")
        terminal.press("x")
        terminal.wait_for("Stop the run?")
        terminal.press("Enter")  # the default is No
        terminal.wait_for(lambda screen: "Stop the run?" not in screen)
        assert set(processes(lab, "night")) == set(lab.hosts)
        terminal.press("x")
        terminal.wait_for("Stop the run?")
        terminal.press("y")
        terminal.wait_for("■ stopped")
        assert processes(lab, "night") == {}
        terminal.press("q")
        terminal.wait_for("exit code 4")
    for member in range(4):
        lines = metrics(folder, member)
        assert [line["seq"] for line in lines] == list(range(len(lines)))


def test_a_failed_check_is_a_screen_that_says_what_to_do(lab: Lab, tmp_path: Path) -> None:
    config = lab.cluster_toml(tmp_path, run={"steps": 5})
    words = lab.motley("run", "-c", str(config), "--set=hosts.box2.python=/usr/bin/python3")
    with Terminal(lab, words, cwd=tmp_path) as terminal:
        screen = terminal.wait_for("has no torch")
        assert "box2" in screen
        assert "pip install" in re.sub(r"\s+", " ", screen)
        terminal.press("q")
        terminal.wait_for("exit code 3")

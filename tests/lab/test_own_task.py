"""A task of the user's own on real hosts: one goes in the middle and comes back, and two of them go on from its end."""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.lab.test_run import START_S, metrics, wait_until

EXAMPLE = Path(__file__).parents[2] / "examples/task/night.py"
RUN_S = 240.0


@pytest.mark.long
def test_a_host_goes_and_comes_back_and_two_of_them_go_on_from_its_end(lab: Lab, tmp_path: Path) -> None:
    shutil.copy(EXAMPLE, tmp_path)
    (tmp_path / "trainer.py").write_text("raise RuntimeError('this is no file of Motley')\n")
    run: dict[str, Any] = {
        "task": "night.py",
        "steps": 3000,
        "global_batch": 200,
        "learning_rate": 0.2,
        "eval_every": 50,
    }
    config = lab.cluster_toml(tmp_path, run=run)
    with config.open("a") as file:
        file.write("\n[task]\nwidth = 48\n")
    folder = tmp_path / "experiments/night"

    def step() -> int:
        return max((row["step"] for row in metrics(folder, 0)), default=0)

    def came(kind: str, generation: int) -> bool:
        path = folder / "events.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        rows = [row for row in map(json.loads, lines) if row["kind"] == kind]
        return any(row["data"].get("generation", 0) >= generation for row in rows)

    words = lab.motley("run", "-c", str(config), "--plain", "--name", "night")
    console = lab.popen(words, cwd=tmp_path, stdout=subprocess.PIPE)
    try:
        wait_until(lambda: step() > 50, "steps on four hosts", START_S)
        lab["box4"].crash()
        wait_until(lambda: came("group", 1), "a group without box4", START_S)
        lab.bring_back("box4")
        wait_until(lambda: came("group", 2), "a group with box4 again", START_S)
        stopped = lab.exec(lab.motley("stop", "night", "-c", str(config)), timeout_s=60, cwd=tmp_path)
        assert stopped.returncode == 0, stopped.stderr
        out, _ = console.communicate(timeout=RUN_S)
    finally:
        console.send_signal(signal.SIGKILL)
    summary = json.loads(out)
    assert (console.returncode, summary["state"]) == (4, "stopped")
    assert summary["samples"] == summary["steps"] * 200
    assert [(r["host"], r["cause"]) for r in summary["regroups"]] == [("box4", "lost"), ("box4", "joined")]
    assert all(r["step_before"] == r["step_after"] for r in summary["regroups"]), "no completed step is lost"

    steps = summary["steps"] + 40
    again = (
        "--plain",
        "--name",
        "day",
        "--resume",
        "night",
        "--set",
        f"run.steps={steps}",
        "--only",
        "box1",
        "--only",
        "box3",
    )
    done = lab.exec(lab.motley("run", "-c", str(config), *again), timeout_s=RUN_S, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    after = json.loads(done.stdout)
    assert (after["state"], after["steps"]) == ("finished", steps)
    assert 0 < after["eval"]["accuracy"] <= 1
    assert after["eval"]["loss"] < math.log(2), "it knows more than nothing of two kinds"
    assert {host["name"] for host in after["hosts"]} == {"box1", "box3"}

"""On real hosts: a run that nobody can lead any more ends with its state on a disk, and is gone on with from there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.lab.test_run import nothing_is_left, wait_until
from tests.support.lines import whole_lines

HOLD_S = 4
STEPS = 1000


def steps_of(lab: Lab, host: str, member: int) -> int:
    """The newest step that the member has told of; each start of its process has a file of its own."""
    folder = lab[host].home / f".motley/runs/held/{host}"
    lines = [line for path in folder.glob(f"rank_{member}*.jsonl") for line in whole_lines(path)]
    return max((json.loads(line)["step"] for line in lines), default=0)


@pytest.mark.long
def test_without_leader_and_console_the_run_is_held_then_lost_and_gone_on_with(lab: Lab, tmp_path: Path) -> None:
    run = {"task": "simple_cnn/digits", "steps": STEPS, "global_batch": 64, "eval_every": 0, "checkpoint_every": 0}
    config = lab.cluster_toml(tmp_path, hosts=("box1", "box2"), run=run, elastic={"hold_s": HOLD_S})
    words = ("-c", str(config))
    started = lab.exec(lab.motley("run", *words, "--name", "held", "--detach"), timeout_s=120, cwd=tmp_path)
    assert started.returncode == 0, started.stderr
    wait_until(lambda: steps_of(lab, "box2", 1) >= 20, "20 steps")
    lab["box1"].power_cut()
    reached = steps_of(lab, "box2", 1)

    def state() -> Any:
        return json.loads((lab["box2"].home / ".motley/runs/held/box2/state.json").read_text())

    def ended() -> bool:
        return bool(state()["state"] == "lost")

    wait_until(ended, "box2 gives up")
    assert state()["left"] == 0
    nothing_is_left(lab, "held", ["box2"])
    lab.bring_back("box1")
    status = lab.exec(lab.motley("status", *words, "--json"), cwd=tmp_path)
    (row,) = [row for row in json.loads(status.stdout)["runs"] if row["run"] == "held"]
    assert row["state"] == "lost"
    assert "motley run --resume held goes on from checkpoints/held.pt" in row["cause"]

    again = ("run", *words, "--name", "again", "--resume", "held", "--plain", "--set", f"run.steps={reached + 40}")
    done = lab.exec(lab.motley(*again), timeout_s=240, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    events = (tmp_path / "experiments/again/events.jsonl").read_text()
    found = re.search(r"goes on from 'held': step_(\d+)\.pt, step (\d+)", events)
    assert found is not None, events
    assert int(found[1]) == int(found[2]) >= reached
    summary = json.loads(done.stdout)
    assert (summary["state"], summary["steps"]) == ("finished", reached + 40)

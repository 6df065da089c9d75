"""The main job on real hosts: `motley` on a master, four machines over OpenSSH, training to its accuracy."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Collection
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.support.lines import whole_lines

START_S = 180.0  # cold: 0.2 of a core imports torch
PHASES = {"connect_s", "push_s", "spawn_s", "import_s", "rendezvous_s", "first_step_s"}
KEYS = {
    "run", "state", "steps", "epochs", "samples", "seconds", "samples_per_s", "final_loss", "eval", "hosts",
    "rebalances", "regroups", "phases",
}  # fmt: skip


def run_plain(lab: Lab, config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return lab.exec(lab.motley("run", "-c", str(config), "--plain", *words), timeout_s=240, cwd=config.parent)


def wait_until(true: Callable[[], bool], what: str, within_s: float = START_S) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.1)  # it is another process's doing: there is nothing to await


def metrics(folder: Path, member: int) -> list[dict[str, Any]]:
    path = folder / "logs" / f"rank_{member}_metrics.jsonl"
    return [json.loads(line) for line in whole_lines(path)]


def processes(lab: Lab, run: str) -> dict[str, list[int]]:
    return {name: pids for name, host in lab.hosts.items() if (pids := host.processes(run))}


def nothing_is_left(lab: Lab, run: str, hosts: Collection[str] = ()) -> None:
    """Of a run that has ended by itself: to say so is a supervisor's last word, and then it ends. Of all `hosts`."""
    wait_until(lambda: not set(processes(lab, run)) & set(hosts or lab.hosts), f"the processes of '{run}' end")


def test_four_unequal_hosts_train_to_their_accuracy_and_share_out_by_speed(lab: Lab, tmp_path: Path) -> None:
    config = lab.cluster_toml(tmp_path, run={"task": "simple_cnn/digits", "epochs": 8})
    done = run_plain(lab, config, "--name", "digits")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary == json.loads((tmp_path / "experiments/digits/summary.json").read_text())
    assert set(summary) >= KEYS
    assert set(summary["phases"]) == PHASES
    assert summary["state"] == "finished"
    assert summary["eval"]["accuracy"] >= 0.95
    assert (summary["steps"], summary["epochs"], summary["samples"]) == (48, 8, 8 * 1500)
    assert [host["name"] for host in summary["hosts"]] == ["box1", "box2", "box3", "box4"]
    assert sum(host["share"] for host in summary["hosts"]) == pytest.approx(1.0, abs=1e-3)
    folder = tmp_path / "experiments/digits"
    for member, host in enumerate(summary["hosts"]):  # a slow one on a busy machine may be given no rows
        batches = [line["batch"] for line in metrics(folder, member)]
        assert (host["samples_per_s"] > 0) == (median(batches[24:]) > 0), (summary["hosts"], batches)
    assert sum(host["samples_per_s"] for host in summary["hosts"]) > 0
    assert {path.name for path in (folder / "checkpoints").iterdir()} >= {"final.pt", "epoch_8.pt"}
    for member in range(4):
        assert [line["seq"] for line in metrics(folder, member)] == list(range(48))
        assert (folder / "logs" / f"rank_{member}.log").stat().st_size > 0
    nothing_is_left(lab, "digits")
    assert_decisions_follow_what_was_measured(lab, folder, summary["rebalances"])


def assert_decisions_follow_what_was_measured(lab: Lab, folder: Path, rebalances: int) -> None:
    """Whatever that is on this machine today. How much it gains: tests/bench/bench_balance.py."""
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines() if line]
    decisions = [event["data"] for event in events if event["kind"] == "decision"]
    assert rebalances == len(decisions) > 0
    first = decisions[0]
    slow, fast = (list(lab.hosts).index(name) for name in re.findall(r"box\d", first["why"])[:2])
    assert first["after"][slow] < first["before"][slow]
    assert first["after"][fast] > first["before"][fast]
    in_force = {1: first["before"], **{decision["step"]: decision["after"] for decision in decisions}}
    for shares, decision in zip(in_force.values(), decisions, strict=False):
        assert (decision["before"], sum(decision["after"])) == (shares, 256)
        assert decision["predicted_ms"] < decision["current_ms"]
    for lines in zip(*(metrics(folder, member) for member in range(4)), strict=True):
        batches = [line["batch"] for line in lines]
        if sum(batches) == 256:  # not at the end of an epoch
            assert batches == in_force[max(step for step in in_force if step <= lines[0]["step"])]


def test_detached_run_is_found_from_the_hosts_alone_and_stopped(brisk_lab: Lab, tmp_path: Path) -> None:
    lab = brisk_lab
    config = lab.cluster_toml(tmp_path, run={"task": "simple_cnn/digits", "epochs": 100000, "checkpoint_every": 0})
    folder = tmp_path / "experiments/long"
    left = lab.exec(lab.motley("run", "-c", str(config), "--name", "long", "--detach"), cwd=tmp_path, timeout_s=START_S)
    assert left.returncode == 0, left.stderr
    assert json.loads(left.stdout) == {"run": "long", "state": "running"}
    subprocess.run(["rm", "-r", str(folder)], check=True)

    back = lab.popen(lab.motley("attach", "-c", str(config), "--plain"), cwd=tmp_path, stdout=subprocess.PIPE)
    wait_until(lambda: len(metrics(folder, 3)) > 20, "metrics of rank 3 by way of attach")
    assert set(processes(lab, "long")) == set(lab.hosts)
    back.send_signal(signal.SIGINT)
    out, _ = back.communicate(timeout=START_S)
    assert back.returncode == 4
    assert json.loads(out)["state"] == "stopped"
    assert processes(lab, "long") == {}
    for member in range(4):
        lines = metrics(folder, member)
        assert [line["seq"] for line in lines] == list(range(len(lines)))
        assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    assert (folder / "checkpoints/stop.pt").exists()
    status = lab.exec(lab.motley("status", "-c", str(config), "--json"), cwd=tmp_path)
    found = next(run for run in json.loads(status.stdout)["runs"] if run["run"] == "long")
    assert found["state"] == "stopped"
    assert found["hosts"] == [{"name": name, "state": "stopped", "left": 0} for name in lab.hosts]


BREAKS: dict[str, tuple[str, dict[str, Any]]] = {
    "wrong host key": ("host_key", {}),
    "wrong user": ("authentication", {"user": "nobody"}),
    "host down": ("reachable", {}),
    "no python": ("python", {"python": "/opt/none/bin/python3"}),
    "no torch": ("torch", {"python": "/usr/bin/python3"}),
}


@pytest.mark.parametrize("broken", BREAKS)
def test_what_is_wrong_with_a_host_is_named_and_nothing_is_started(lab: Lab, tmp_path: Path, broken: str) -> None:
    check, keys = BREAKS[broken]
    config = lab.cluster_toml(tmp_path, run={"steps": 5})
    words = [f"--set=hosts.box3.{key}={value}" for key, value in keys.items()]
    known = lab.home / ".ssh/known_hosts"
    before = known.read_text()
    if broken == "host down":
        lab["box3"].unplug()
    if broken == "wrong host key":
        known.write_text(before.replace(lab["box3"].public_host_key, lab["box1"].public_host_key))
    try:
        run = run_plain(lab, config, "--name", "never", *words)
        listed = lab.exec(lab.motley("check", "-c", str(config), "--json", *words), cwd=tmp_path)
    finally:
        known.write_text(before)
    assert run.returncode == 3, run.stderr
    assert run.stdout == ""
    assert "box3" in run.stderr
    assert not (tmp_path / "experiments/never").exists()
    assert processes(lab, "never") == {}
    assert listed.returncode == 3
    table = json.loads(listed.stdout)
    assert table["ok"] is False
    errors = [finding for finding in table["findings"] if finding["level"] == "error"]
    assert [(finding["host"], finding["check"]) for finding in errors] == [("box3", check)]
    assert errors[0]["cause"]
    assert errors[0]["remedy"]

"""The machine that the console runs on takes part itself (`connect = "local"`), with real hosts and without any."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab import MASTER, Lab
from tests.lab.test_run import START_S, metrics, nothing_is_left, wait_until
from tests.support.lines import whole_lines

ROOT = Path(__file__).parents[2]
LOCAL = '[[hosts]]\nname = "desk"\nconnect = "local"\n\n'
NO_NETWORK = "ip link set lo up && exec "


@pytest.fixture(scope="module")
def three(can_have_a_lab: None) -> Iterator[Lab]:  # noqa: ARG001
    with Lab({"box1": 0.6, "box2": 0.4, "box3": 0.2}) as lab:
        yield lab
        lab.heal()


def with_desk(lab: Lab, folder: Path, **sections: Any) -> Path:
    """A cluster.toml of the lab's hosts whose first host is the machine itself."""
    config = lab.cluster_toml(folder, **sections)
    config.write_text(config.read_text().replace("[[hosts]]", f"{LOCAL}[[hosts]]", 1))
    return config


def here(home: Path, run: str) -> list[int]:
    """The processes of a run on the machine itself whose home that is."""
    tag = b"MOTLEY_DIR=" + os.fsencode(home / ".motley/runs" / run)
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and tag in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:  # gone meanwhile
            continue
    return found


@pytest.mark.longest
def test_it_starts_balances_leads_is_lost_comes_back_and_is_stopped(three: Lab, tmp_path: Path) -> None:
    run = {"task": "simple_cnn/digits", "epochs": 100_000, "checkpoint_every": 0, "eval_every": 0}
    config = with_desk(three, tmp_path, run=run)
    for name in ("trainer.py", "remote.py"):  # of the user's own: no file of Motley
        (tmp_path / name).write_text("raise RuntimeError('this is no file of Motley')\n")
    for name in ("profiles", "console"):
        (tmp_path / name).mkdir()
    folder, kept = tmp_path / "experiments/night", three.home / ".motley/runs/night/desk"

    def asked(*words: str, code: int = 0) -> str:
        done = three.exec(three.motley(words[0], "-c", str(config), *words[1:]), cwd=tmp_path, timeout_s=60)
        assert done.returncode == code, done.stderr
        return done.stdout

    def events(kind: str) -> list[dict[str, Any]]:
        return [row for row in map(json.loads, whole_lines(folder / "events.jsonl")) if row["kind"] == kind]

    def grouped(hosts: set[str], after: int) -> bool:
        """A group of these hosts was formed after the first so many."""
        return any({m["host"] for m in event["data"]["members"]} == hosts for event in events("group")[after:])

    everyone = {"desk", *three.hosts}
    assert "✔ desk: this machine needs no key" in asked("keys")
    assert json.loads(asked("check", "--json"))["ok"]
    words = three.motley("run", "-c", str(config), "--plain", "--name", "night")
    console = three.popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: len(metrics(folder, 3)) > 20, "steps on four hosts")
        wait_until(lambda: bool(events("decision")), "a decision on the shares")
        spec = json.loads((kept / "spec.json").read_text())
        assert (spec["leader"], spec["leader_address"]) == ("desk", MASTER)
        row = metrics(folder, 0)[-1], metrics(folder, 3)[-1]
        assert row[0]["batch"] > row[1]["batch"], "box3 has 0.2 cores"

        found = json.loads(asked("status", "--json"))["runs"][0]
        assert {host["name"]: host["state"] for host in found["hosts"]} == dict.fromkeys(everyone, "running")

        groups = len(events("group"))
        os.kill(json.loads((kept / "state.json").read_text())["pid"], signal.SIGKILL)
        wait_until(lambda: grouped({*three.hosts}, groups), "a group without desk")
        wait_until(lambda: grouped(everyone, groups), "a group with desk again")
    finally:
        console.send_signal(signal.SIGKILL)
        console.wait()
    words = three.motley("attach", "night", "-c", str(config), "--plain")
    watching = three.popen(words, cwd=tmp_path, stdout=subprocess.PIPE)
    try:
        step = metrics(folder, 0)[-1]["step"]
        wait_until(lambda: metrics(folder, 0)[-1]["step"] > step + 20, "steps that a second console has seen")
        stopped = json.loads(asked("stop", "night"))
        out, _ = watching.communicate(timeout=START_S)
    finally:
        watching.send_signal(signal.SIGKILL)
    assert stopped == {"run": "night", "state": "stopped", "unanswered": []}
    assert (watching.returncode, json.loads(out)["state"]) == (4, "stopped")
    nothing_is_left(three, "night")
    wait_until(lambda: not here(three.home, "night"), "the processes here end")


@pytest.mark.long
def test_what_it_began_alone_is_joined_by_no_other_machine(three: Lab, tmp_path: Path) -> None:
    config = with_desk(three, tmp_path, run={"task": "simple_cnn/digits", "epochs": 100_000})

    def asked(*words: str) -> subprocess.CompletedProcess[str]:
        return three.exec(three.motley(words[0], "-c", str(config), *words[1:]), cwd=tmp_path, timeout_s=START_S)

    begun = asked("run", "--only", "desk", "--name", "lonely", "--detach")
    assert begun.returncode == 0, begun.stderr
    refused = asked("join", "lonely", "box1")
    stopped = asked("stop", "lonely")
    assert refused.returncode == 2
    assert "'lonely' began on desk alone, which leads it at 127.0.0.1: box1 can't get there" in refused.stderr
    assert stopped.returncode == 0, stopped.stderr
    nothing_is_left(three, "lonely")
    wait_until(lambda: not here(three.home, "lonely"), "the processes here end")


def test_without_a_network_the_two_lines_of_the_readme_run_alone(three: Lab, tmp_path: Path) -> None:
    """From an empty home, of which nothing but ~/.motley is made."""
    lines, *_ = re.findall(r"\[\[hosts\]\]\nname = .*\nconnect = \"local\".*\n", (ROOT / "README.md").read_text())
    (tmp_path / "cluster.toml").write_text(lines)
    home = tmp_path / "home"
    home.mkdir()
    run = three.motley("run", "--plain", "--name", "alone", "--set", "run.steps=20")
    shell = NO_NETWORK + " ".join(map(repr, run))
    argv = ["unshare", "--net", "env", f"HOME={home}", "sh", "-c", shell]
    done = three.exec(argv, cwd=tmp_path, timeout_s=START_S)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["state"], summary["steps"]) == ("finished", 20)
    assert [path.name for path in home.iterdir()] == [".motley"]
    wait_until(lambda: not here(home, "alone"), "the processes end")

"""A script of the user's own on real hosts: one crashes, then the one that leads loses its power."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.test_run import processes, wait_until

EXAMPLE = Path(__file__).parents[2] / "examples/script"
EPOCHS = 300
RESTART_S = 120.0


@pytest.fixture(scope="module")
def three(can_have_a_lab: None) -> Iterator[Lab]:  # noqa: ARG001
    with Lab({"box1": 0.6, "box2": 0.6, "box3": 0.6}) as lab:
        yield lab
        lab.heal()


@pytest.mark.long
def test_it_is_started_anew_on_the_hosts_that_are_left_until_it_has_finished(three: Lab, tmp_path: Path) -> None:
    shutil.copy(EXAMPLE / "train.py", tmp_path)
    config = three.cluster_toml(tmp_path, run={"script": "train.py", "args": ["--epochs", str(EPOCHS)]})
    folder = tmp_path / "experiments/night"

    def printed(member: int) -> list[str]:
        path = folder / "logs" / f"rank_{member}.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line.startswith("epoch ")]

    def on(ranks: int) -> bool:
        return any(f"on {ranks} ranks" in line for member in range(3) for line in printed(member))

    words = three.motley("run", "-c", str(config), "--plain", "--name", "night")
    console = three.popen(words, cwd=tmp_path, stdout=subprocess.PIPE)
    try:
        wait_until(lambda: len(printed(0)) > 3, "epochs on three hosts", RESTART_S)
        three["box3"].crash()
        wait_until(lambda: on(2), "epochs on two hosts", RESTART_S)
        three["box1"].power_cut()
        wait_until(lambda: on(1), "epochs on one host", RESTART_S)
        out, _ = console.communicate(timeout=RESTART_S)
    finally:
        console.send_signal(signal.SIGKILL)
    summary = json.loads(out)
    assert (console.returncode, summary["state"]) == (0, "finished")
    first, second = ([int(line.split()[1]) for line in printed(member)] for member in (0, 1))
    assert all(after - before in (0, 1) for before, after in itertools.pairwise(first)), "from its checkpoint"
    assert second == list(range(second[0], EPOCHS + 1))
    assert second[0] >= first[-1], "box2 has kept a checkpoint as well"
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines() if line]
    told = [event["text"] for event in events if event["kind"] == "restarted"]
    assert [text.partition(":")[0] for text in told] == [f"restart {n} of 3 (elastic.restarts)" for n in (1, 2)]
    assert ("box3" in told[0], "box1" in told[1]) == (True, True)
    assert {host: pids for host, pids in processes(three, "night").items() if host == "box2"} == {}

"""Code of the user's own on real hosts: a script whose hosts are lost one by one, a task whose host comes back."""

from __future__ import annotations

import itertools
import json
import math
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.lab.test_run import START_S, metrics, nothing_is_left, wait_until
from tests.support.lines import whole_lines

EXAMPLES = Path(__file__).parents[2] / "examples"
EPOCHS = 300
RESTART_S = 120.0
RUN_S = 240.0


@pytest.fixture(scope="module")
def three(can_have_a_lab: None) -> Iterator[Lab]:  # noqa: ARG001
    with Lab({"box1": 0.6, "box2": 0.6, "box3": 0.6}) as lab:
        yield lab
        lab.heal()


@pytest.mark.longest
def test_it_is_started_anew_on_the_hosts_that_are_left_until_it_has_finished(three: Lab, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "script/train.py", tmp_path)
    config = three.cluster_toml(tmp_path, run={"script": "train.py", "args": ["--epochs", str(EPOCHS)]})
    folder = tmp_path / "experiments/night"

    def printed(member: int) -> list[str]:
        lines = whole_lines(folder / "logs" / f"rank_{member}.log")
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
    nothing_is_left(three, "night", ["box2"])


@pytest.mark.long
def test_a_host_goes_and_comes_back_and_two_of_them_go_on_from_its_end(lab: Lab, tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "task/night.py", tmp_path)
    (tmp_path / "trainer.py").write_text("raise RuntimeError('this is no file of Motley')\n")
    run: dict[str, Any] = {"task": "night.py", "steps": 1_000_000, "global_batch": 200, "learning_rate": 0.2}
    run |= {"eval_every": 50, "checkpoint_every": 50}
    config = lab.cluster_toml(tmp_path, run=run, elastic={"lost_after_s": 10})  # a crash is heard of at once
    with config.open("a") as file:
        file.write("\n[task]\nwidth = 48\n")
    folder = tmp_path / "experiments/spirals"

    def step() -> int:
        return max((row["step"] for row in metrics(folder, 0)), default=0)

    def came(kind: str, generation: int) -> bool:
        rows = [json.loads(line) for line in whole_lines(folder / "events.jsonl")]
        rows = [row for row in rows if row["kind"] == kind]
        return any(row["data"].get("generation", 0) >= generation for row in rows)

    words = lab.motley("run", "-c", str(config), "--plain", "--name", "spirals")
    console = lab.popen(words, cwd=tmp_path, stdout=subprocess.PIPE)
    try:
        wait_until(lambda: step() > 50, "steps on four hosts", START_S)
        lab["box4"].crash()
        wait_until(lambda: came("group", 1), "a group without box4", START_S)
        lab.bring_back("box4")
        wait_until(lambda: came("group", 2), "a group with box4 again", START_S)
        stopped = lab.exec(lab.motley("stop", "spirals", "-c", str(config)), timeout_s=60, cwd=tmp_path)
        assert stopped.returncode == 0, stopped.stderr
        out, _ = console.communicate(timeout=RUN_S)
    finally:
        console.send_signal(signal.SIGKILL)
    summary = json.loads(out)
    assert (console.returncode, summary["state"]) == (4, "stopped")
    assert summary["samples"] == summary["steps"] * 200
    assert [r["cause"] for r in summary["regroups"] if r["host"] == "box4"] == ["lost", "joined"]
    assert all(r["step_before"] == r["step_after"] for r in summary["regroups"]), "no completed step is lost"

    steps = summary["steps"] + 40
    again = (
        "--plain",
        "--name",
        "spirals-on",
        "--resume",
        "spirals",
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


COUNTS = """
import os, pathlib, time
out = pathlib.Path("out")
out.mkdir(exist_ok=True)
done = max((int(path.stem) for path in out.glob("*.txt")), default=0)
print(f"begins after {done} with {os.environ['WORLD_SIZE']}", flush=True)
if os.environ["RANK"] == "0":
    for number in range(done + 1, done + 4):
        (out / ".part").write_text(f"{number}\\n" * 50_000)
        (out / ".part").rename(out / f"{number}.txt")
while not pathlib.Path.home().joinpath("enough").exists():
    time.sleep(0.1)
"""


@pytest.mark.longest
def test_what_a_script_writes_comes_home_and_is_gone_on_from_elsewhere(three: Lab, tmp_path: Path) -> None:
    three.heal()
    (tmp_path / "train.py").write_text(COUNTS)
    run = {"script": "train.py", "results": ["out/*.txt"], "stop_grace_s": 1}
    config = three.cluster_toml(tmp_path, run=run)
    experiments = tmp_path / "experiments"

    def here(run: str, host: str) -> list[int]:
        return sorted(int(path.stem) for path in (experiments / run / "results" / host / "out").glob("*.txt"))

    def started(*words: str) -> subprocess.Popen[str]:
        command = three.motley("run", "-c", str(config), "--plain", *words)
        return three.popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)

    console = started("--name", "counts")
    try:
        wait_until(lambda: here("counts", "box1") == [1, 2, 3], "the results of box1", RESTART_S)
        three["box1"].power_cut()
        wait_until(lambda: here("counts", "box2") == [1, 2, 3], "those of the next rank 0", RESTART_S)
        assert (experiments / "counts/results/latest").resolve().name == "box2"
        console.send_signal(signal.SIGKILL)  # the run ends without a console
        console.wait()
        stopped = three.exec(three.motley("stop", "counts", "-c", str(config)), timeout_s=90, cwd=tmp_path)
        assert stopped.returncode == 1, "box1 did not answer"
        nothing_is_left(three, "counts", ["box2", "box3"])
        shutil.rmtree(experiments / "counts/results/box2")
        console = started("--name", "on", "--resume", "counts", "--only", "box2", "--only", "box3")
        wait_until(lambda: here("on", "box2") == [1, 2, 3, 4, 5, 6], "what follows on them", RESTART_S)
        for rank in range(2):
            log = experiments / f"on/logs/rank_{rank}.log"
            wait_until(lambda log=log: bool(whole_lines(log)), f"a word of rank {rank}", RESTART_S)  # type: ignore[misc]
            assert log.read_text() == "begins after 3 with 2\n"
        for host in ("box2", "box3"):
            (three[host].home / "enough").touch()
        assert console.wait(RESTART_S) == 0
    finally:
        console.send_signal(signal.SIGKILL)
        three.heal()
    nothing_is_left(three, "on", ["box2", "box3"])

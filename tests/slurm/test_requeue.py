"""Runs whose job is started again: told to end in time, taken back by Slurm, with somebody who watches and without."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.slurm.slurm import URGENT, Slurm
from tests.slurm.test_slurm_runs import assert_given_back, cluster_toml, motley, wait_for


def requeued(slurm: Slurm, folder: Path, *, steps: int, fast: int = 2) -> Path:
    config = cluster_toml(slurm, folder, steps=steps, fast=fast)
    config.write_text(config.read_text().replace('time = "20"', 'time = "20"\nrequeue = true'))
    return config


def warn(slurm: Slurm, run: str) -> None:
    """What Slurm does itself when the time of a job is nearly over."""
    job = slurm.exec(["squeue", "-h", "-n", f"motley-{run}", "-o", "%A"]).stdout.split()[0]
    done = slurm.exec(["scancel", "--batch", "--signal=USR1", job])
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_its_time_is_nearly_over_and_it_goes_on_in_the_next_job(slurm: Slurm, tmp_path: Path) -> None:
    config = requeued(slurm, tmp_path, steps=400)
    console = slurm.popen(
        slurm.lab.motley("run", "-c", str(config), "--plain", "--name", "again"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_for(console.stderr, r"step \d+")

    warn(slurm, "again")

    wait_for(console.stderr, "the job ends soon: a checkpoint is written")
    line = wait_for(console.stderr, r"requeued by Slurm: goes on at step [\d,]+")
    assert "goes on at step 0" not in line
    out, said = console.communicate(timeout=300)
    assert console.returncode == 0, said
    summary = json.loads(out)
    assert (summary["state"], summary["steps"]) == ("finished", 400)
    assert_given_back(slurm, "again")


@pytest.mark.long
def test_nobody_watches_and_it_goes_on_all_the_same(slurm: Slurm, tmp_path: Path) -> None:
    config = requeued(slurm, tmp_path, steps=300)
    done = motley(slurm, "run", "-c", str(config), "--detach", "--name", "unwatched")
    assert done.returncode == 0, done.stderr

    job = slurm.exec(["squeue", "-h", "-n", "motley-unwatched", "-o", "%A"]).stdout.split()[0]
    assert slurm.exec(["scontrol", "requeue", job]).returncode == 0

    slurm.until("the job does not end", ["squeue", "-h"], "", within_s=300.0)
    states = [
        json.loads((host.home / f".motley/runs/unwatched/{name}/state.json").read_text())["state"]
        for name, host in zip(("fast-1", "fast-2", "slow"), slurm.lab.hosts.values(), strict=True)
    ]
    assert states == ["finished"] * 3
    assert_given_back(slurm, "unwatched")


@pytest.mark.long
def test_a_node_that_is_back_in_time_joins_again(slurm: Slurm, tmp_path: Path) -> None:
    """Before Slurm has given it up, and taken it out of the job."""
    console = slurm.popen(
        slurm.lab.motley("run", "-c", str(cluster_toml(slurm, tmp_path, steps=100_000)), "--plain", "--name", "back"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_for(console.stderr, r"step \d+")

    slurm.lab["fast2"].power_cut()
    slurm.lab.bring_back("fast2")
    slurm.start_node("fast2")

    wait_for(console.stderr, "fast-2 is back: its ranks start again")
    wait_for(console.stderr, r"fast-2 .*joined|3 ranks|world size 3")
    stopped = motley(slurm, "stop", "back", "-c", str(tmp_path / "cluster.toml"))
    assert json.loads(stopped.stdout)["state"] == "stopped", stopped.stderr
    console.communicate(timeout=120)
    assert_given_back(slurm, "back")


def others_take_a_node(slurm: Slurm, folder: Path, run: str, *, requeue: bool) -> tuple[subprocess.Popen[str], str]:
    """The console of a run, and the job that has taken one of its nodes."""
    make = requeued if requeue else cluster_toml
    console = slurm.popen(
        slurm.lab.motley("run", "-c", str(make(slurm, folder, steps=400)), "--plain", "--name", run),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_for(console.stderr, r"step \d+")
    return console, slurm.occupy(URGENT, nodes=1)


@pytest.mark.long
def test_others_take_a_node_and_it_goes_on_when_it_is_free(slurm: Slurm, tmp_path: Path) -> None:
    console, other = others_take_a_node(slurm, tmp_path, "displaced", requeue=True)

    wait_for(console.stderr, "requeued by Slurm")
    slurm.exec(["scancel", other])

    wait_for(console.stderr, r"requeued by Slurm: goes on at step [\d,]+")
    out, said = console.communicate(timeout=300)
    assert (console.returncode, json.loads(out)["state"]) == (0, "finished"), said
    assert_given_back(slurm, "displaced")


@pytest.mark.long
def test_others_take_a_node_and_that_is_the_end(slurm: Slurm, tmp_path: Path) -> None:
    console, other = others_take_a_node(slurm, tmp_path, "ended", requeue=False)

    _, said = console.communicate(timeout=300)

    assert console.returncode == 1
    assert "the job has ended: PREEMPTED" in said, said
    assert "A job of higher priority took its nodes" in said
    assert slurm.exec(["squeue", "-h", "-o", "%A"]).stdout.split() == [other]


@pytest.mark.long
def test_with_a_shared_home_other_nodes_take_it_up(slurm: Slurm, tmp_path: Path) -> None:
    """Its first node is not to be had when it is started again."""
    shared = slurm.lab.folder / "shared"
    shared.mkdir()
    for host in slurm.lab.hosts.values():
        shutil.rmtree(host.home / ".motley", ignore_errors=True)
        (host.home / ".motley").symlink_to(shared)
    config = requeued(slurm, tmp_path, steps=300, fast=1)
    console = slurm.popen(
        slurm.lab.motley("run", "-c", str(config), "--plain", "--name", "elsewhere"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert "fast1" in wait_for(console.stderr, "the job runs on")
        wait_for(console.stderr, r"step \d+")
        slurm.exec(["scontrol", "update", "nodename=fast1", "state=drain", "reason=test"])

        warn(slurm, "elsewhere")

        wait_for(console.stderr, "requeued by Slurm")
        assert "fast2" in wait_for(console.stderr, "the job runs on")
        line = wait_for(console.stderr, r"goes on at step [\d,]+")
        assert "goes on at step 0" not in line
        out, said = console.communicate(timeout=300)
        assert (console.returncode, json.loads(out)["state"]) == (0, "finished"), said
        assert_given_back(slurm, "elsewhere")
    finally:
        slurm.exec(["scontrol", "update", "nodename=fast1", "state=resume"])
        for host in slurm.lab.hosts.values():
            (host.home / ".motley").unlink()


def draining(slurm: Slurm, *nodes: str, state: str = "drain") -> None:
    for node in nodes:
        done = slurm.exec(["scontrol", "update", f"nodename={node}", f"state={state}", "reason=test"])
        assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_other_nodes_with_homes_of_their_own_are_handed_the_run_by_the_console(slurm: Slurm, tmp_path: Path) -> None:
    """The node that leads is another one, twice: at last the first one again, whose checkpoint is old by then."""
    config = requeued(slurm, tmp_path, steps=900, fast=1)
    config.write_text(config.read_text() + "checkpoint_steps = 50\n")
    console = slurm.popen(
        slurm.lab.motley("run", "-c", str(config), "--plain", "--name", "moved"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        wait_for(console.stderr, r"step \d+")
        draining(slurm, "fast1")
        warn(slurm, "moved")

        assert "fast2" in wait_for(console.stderr, "the job runs on")
        wait_for(console.stderr, "fast: these nodes have nothing of 'moved', which is brought there")
        first = went_on_at(wait_for(console.stderr, r"requeued by Slurm: goes on at step [\d,]+"))
        assert first > 0
        wait_for(console.stderr, r"step \d+")

        draining(slurm, "fast1", state="resume")
        draining(slurm, "fast2")
        warn(slurm, "moved")

        assert "fast1" in wait_for(console.stderr, "the job runs on")
        wait_for(console.stderr, "'moved' begins once more from it")
        second = went_on_at(wait_for(console.stderr, r"requeued by Slurm: goes on at step [\d,]+, from step_"))
        assert second > first
        out, said = console.communicate(timeout=300)
        assert (console.returncode, json.loads(out)["state"], json.loads(out)["steps"]) == (0, "finished", 900), said
        assert_kept_once(tmp_path / "experiments/moved")
        assert_given_back(slurm, "moved")
    finally:
        slurm.exec(["scontrol", "update", "nodename=fast[1-2]", "state=undrain"])


def assert_kept_once(folder: Path) -> None:
    """Every line that a node has written: the console's own events may be alike, what hosts tell has its time."""
    files = [folder / "events.jsonl", *sorted((folder / "logs").glob("*.jsonl"))]
    lines = [line for file in files for line in file.read_text().splitlines() if '"source":"console"' not in line]
    assert len(lines) > 900
    assert [line for line, times in Counter(lines).items() if times > 1] == []


def went_on_at(line: str) -> int:
    return int(line.partition("goes on at step ")[2].partition(" ")[0].rstrip(",").replace(",", ""))


@pytest.mark.long
def test_nobody_watches_and_other_nodes_have_nothing_of_it(slurm: Slurm, tmp_path: Path) -> None:
    """It does not begin anew: it waits for a console, which is told how to go on."""
    config = requeued(slurm, tmp_path, steps=900, fast=1)
    config.write_text(config.read_text() + "checkpoint_steps = 20\n")
    console = slurm.popen(
        slurm.lab.motley("run", "-c", str(config), "--plain", "--name", "lonely"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_for(console.stderr, r"step_60\.pt")
    console.kill()  # with an earlier one brought home
    console.communicate()
    assert list((tmp_path / "experiments/lonely/checkpoints").glob("*.pt"))
    job = slurm.exec(["squeue", "-h", "-n", "motley-lonely", "-o", "%A"]).stdout.split()[0]
    try:
        draining(slurm, "fast1")
        assert slurm.exec(["scontrol", "requeue", job]).returncode == 0
        slurm.until("it runs on other nodes", ["squeue", "-h", "-t", "R", "-S", "i", "-o", "%N"], "fast2\nslow1")

        told = motley(slurm, "status", "-c", str(config), "--json")
        (row,) = [row for row in json.loads(told.stdout)["runs"] if row["run"] == "lonely"]
        assert row["state"] == "waiting", told
        assert "`motley attach lonely` brings there what came home" in row["cause"]

        watched = motley(slurm, "attach", "lonely", "-c", str(config), "--plain")

        assert watched.returncode == 0, watched.stderr
        went_on = [line for line in watched.stderr.splitlines() if "goes on at step" in line]
        assert [went_on_at(line) > 0 for line in went_on] == [True], watched.stderr
        assert json.loads(watched.stdout)["state"] == "finished"
        assert_given_back(slurm, "lonely")
    finally:
        slurm.exec(["scontrol", "update", "nodename=fast1", "state=undrain"])

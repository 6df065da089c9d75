"""Whole runs in jobs of a real Slurm: shares, a node that dies, nobody watching, stops, and what is refused."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.slurm import Slurm

CLASSES = """\
[cluster]
name = "two-classes"
connect = "slurm"

[defaults]
python = "{python}"

[[hosts]]
name = "fast"
nodes = {fast}
partition = "{partition}"
sbatch = [{sbatch}]

[[hosts]]
name = "slow"
partition = "slow"

[slurm]
time = "20"
sbatch = ["--exclusive"]
{login}

[run]
task = "simple_cnn/digits"
global_batch = 256
steps = {steps}
"""


def cluster_toml(
    slurm: Slurm,
    folder: Path,
    *,
    steps: int,
    fast: int = 2,
    partition: str = "fast",
    login: str = "",
    sbatch: str = "",
) -> Path:
    """`sbatch`: an option of the first class."""
    path = folder / "cluster.toml"
    words = json.dumps(sbatch) if sbatch else ""
    path.write_text(
        CLASSES.format(python=slurm.python, steps=steps, fast=fast, partition=partition, login=login, sbatch=words)
    )
    return path


def motley(slurm: Slurm, *words: str, timeout_s: float = 300.0) -> subprocess.CompletedProcess[str]:
    return slurm.exec(slurm.lab.motley(*words), timeout_s=timeout_s)


def assert_given_back(slurm: Slurm, run: str) -> None:
    """No job, and no process of the run on any node."""
    assert slurm.exec(["squeue", "-h"]).stdout == ""
    left = {name: host.processes(run) for name, host in slurm.lab.hosts.items()}
    assert not any(left.values()), left


def wait_for(stream: Any, wanted: str) -> str:
    """Reads lines until one has this."""
    seen = []
    for line in stream:
        seen.append(line)
        if re.search(wanted, line):
            return str(line)
    raise AssertionError(f"it ended without {wanted!r}:\n{''.join(seen)}")


def test_two_classes_train_together_with_unequal_shares(slurm: Slurm, tmp_path: Path) -> None:
    config = cluster_toml(slurm, tmp_path, steps=60)
    config.write_text(config.read_text() + '[balance]\npolicy = "static"\nshares = [104, 104, 48]\n')

    done = motley(slurm, "run", "-c", str(config), "--plain", "--name", "shares")

    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["state"] == "finished"
    assert summary["steps"] == 60
    share = {host["name"]: host["share"] for host in summary["hosts"]}
    assert share == pytest.approx({"fast-1": 104 / 256, "fast-2": 104 / 256, "slow": 48 / 256}, abs=0.001)
    assert re.search(r"job \d+: the job runs on fast\[1-2\], slow1", done.stderr)
    assert_given_back(slurm, "shares")


def test_it_waits_in_the_queue_and_ctrl_c_gives_the_place_up(slurm: Slurm, tmp_path: Path) -> None:
    config = cluster_toml(slurm, tmp_path, steps=50)
    other = slurm.occupy("fast", nodes=2)
    console = slurm.popen(
        slurm.lab.motley("run", "-c", str(config), "--plain", "--name", "queued"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    line = wait_for(console.stderr, r"in the queue: .*expected to start at")
    assert "Resources, nodes are in use" in line or "Priority, others come first" in line
    status = motley(slurm, "status", "-c", str(config))
    assert re.search(r"queued +queued", status.stdout), status.stdout + status.stderr

    console.send_signal(signal.SIGINT)

    assert console.wait(timeout=60) == 4
    console.communicate()
    assert slurm.exec(["squeue", "-h", "-o", "%A"]).stdout.split() == [other]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"partition": "nosuch"}, r"Invalid partition name specified|invalid partition specified: nosuch"),
        ({"fast": 5}, r"Slurm never starts it: PartitionConfig\n +The partition never gives that much"),
        ({"sbatch": "--gres=gpu:9"}, r"Invalid generic resource.*\n +Look at --gres in cluster.toml"),
        ({"sbatch": "--nonsuch=1"}, r"unrecognized option.*\n +Look at sbatch in cluster.toml"),
        ({"sbatch": "--constraint=nosuch"}, r"Invalid feature specification.*\n +No node has such a feature"),
    ],
)
def test_a_job_that_is_refused_is_told_with_what_to_do(
    slurm: Slurm, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    config = cluster_toml(slurm, tmp_path, steps=50, **options)

    done = motley(slurm, "run", "-c", str(config), "--plain", "--name", "refused")

    assert done.returncode == 1
    assert re.search(said, done.stderr), done.stderr
    assert slurm.exec(["squeue", "-h"]).stdout == ""


@pytest.mark.long
def test_a_job_that_is_cancelled_in_the_queue(slurm: Slurm, tmp_path: Path) -> None:
    config = cluster_toml(slurm, tmp_path, steps=50)
    slurm.occupy("fast", nodes=2)
    console = slurm.popen(
        slurm.lab.motley("run", "-c", str(config), "--plain", "--name", "cancelled"), stderr=subprocess.PIPE
    )
    wait_for(console.stderr, r"in the queue: ")

    slurm.exec(["scancel", "--name=motley-cancelled"])

    _, said = console.communicate(timeout=60)
    assert console.returncode == 1
    assert "the job has ended: CANCELLED" in said
    assert "Start it again" in said
    assert "motley-cancelled" not in slurm.exec(["squeue", "-h", "-o", "%j"]).stdout


@pytest.mark.long
def test_a_node_that_dies_is_done_without(slurm: Slurm, tmp_path: Path) -> None:
    config = cluster_toml(slurm, tmp_path, steps=100_000)
    console = slurm.popen(
        slurm.lab.motley("run", "-c", str(config), "--plain", "--name", "dies"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_for(console.stderr, r"step \d+")

    slurm.lab["fast2"].power_cut()

    wait_for(console.stderr, r"fast-2 lost at step \d+: went on after")
    slurm.until("Slurm keeps the node", ["squeue", "-h", "-o", "%N", "-t", "R", "-S", "i"], "fast1\nslow1")
    wait_for(console.stderr, r"step \d+")
    stopped = motley(slurm, "stop", "dies", "-c", str(config))
    assert json.loads(stopped.stdout)["state"] == "stopped", stopped.stderr
    console.communicate(timeout=120)
    assert_given_back(slurm, "dies")


@pytest.mark.long
def test_its_time_is_over(slurm: Slurm, tmp_path: Path) -> None:
    config = cluster_toml(slurm, tmp_path, steps=100_000)
    config.write_text(config.read_text().replace('time = "20"', 'time = "1"'))

    done = motley(slurm, "run", "-c", str(config), "--plain", "--name", "late")

    assert done.returncode == 1, done.stdout
    assert "the job has ended: TIMEOUT" in done.stderr
    assert "Set [slurm] time higher" in done.stderr
    kept = [path.name for path in (tmp_path / "experiments/late/checkpoints").iterdir()]
    assert any(name.startswith("epoch_") for name in kept), kept
    assert_given_back(slurm, "late")


@pytest.mark.long
def test_nobody_watches_and_the_nodes_are_given_back(slurm: Slurm, tmp_path: Path) -> None:
    config = cluster_toml(slurm, tmp_path, steps=30)

    done = motley(slurm, "run", "-c", str(config), "--detach", "--name", "alone")

    assert done.returncode == 0, done.stderr
    slurm.until("the job does not end", ["squeue", "-h"], "", within_s=180.0)
    assert_given_back(slurm, "alone")


@pytest.mark.long
def test_a_run_of_some_hosts_is_stopped_without_saying_which(slurm: Slurm, tmp_path: Path) -> None:
    config = str(cluster_toml(slurm, tmp_path, steps=100_000))
    done = motley(slurm, "run", "-c", config, "--only", "fast", "--detach", "--name", "some")
    assert done.returncode == 0, done.stderr

    stopped = motley(slurm, "stop", "some", "-c", config)

    assert json.loads(stopped.stdout)["state"] == "stopped", stopped.stderr
    assert_given_back(slurm, "some")


@pytest.mark.long
def test_a_login_node_over_ssh(slurm: Slurm, tmp_path: Path) -> None:
    login = f'address = "{slurm.lab["slow1"].address}"'
    config = cluster_toml(slurm, tmp_path, steps=30, login=login)
    done = slurm.lab.exec(slurm.lab.motley("run", "-c", str(config), "--plain", "--name", "far"), timeout_s=300.0)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "finished"
    assert_given_back(slurm, "far")


@pytest.mark.long
def test_where_there_is_no_slurm(slurm: Slurm, tmp_path: Path) -> None:
    config = cluster_toml(slurm, tmp_path, steps=30)
    words = slurm.lab.motley("run", "-c", str(config), "--plain", "--name", "none")

    only_sh = tmp_path / "bin"
    only_sh.mkdir()
    (only_sh / "sh").symlink_to("/bin/sh")

    console = slurm.popen(["/usr/bin/env", f"PATH={only_sh}", *words], stderr=subprocess.PIPE)

    _, said = console.communicate(timeout=60)
    assert console.returncode == 2
    assert "there is no sbatch on this machine: write its login node into cluster.toml: [slurm] address" in said

"""Cards that are not NVIDIA's: a whole run, on a stand-in for what torch says of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainer.devices.stand_in_gpus import NAME, PEAK_MIB, python_with

pytestmark = pytest.mark.ranks

ROOT = Path(__file__).parents[3]
CLUSTER = """
[cluster]
name = "others"
connect = "demo"

[[hosts]]
name = "box"
python = "{python}"
{more}

[run]
task = "simple_cnn/digits"
global_batch = 64
steps = 12
"""


def motley(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "motley.console", *words],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "HOME": str(folder), "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def cluster(folder: Path, python: Path, more: str = "") -> None:
    (folder / "cluster.toml").write_text(CLUSTER.format(python=python, more=more))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


@pytest.mark.parametrize(
    ("kind", "built_for", "version", "library"),
    [pytest.param("xpu", "xpu", "20250301", "xccl", marks=pytest.mark.long), ("cuda", "hip", "6.4.43482", "nccl")],
    ids=["Intel", "AMD"],
)
def test_a_run_on_every_card_that_torch_names(
    tmp_path: Path, kind: str, built_for: str, version: str, library: str
) -> None:
    cluster(tmp_path, python_with(tmp_path / "python", kind=kind, built_for=built_for, version=version))
    done = motley(tmp_path, "run", "--plain", "--name", "night")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["state"], summary["steps"]) == ("finished", 12)
    folder = tmp_path / "experiments/night"
    group = next(event for event in lines(folder / "events.jsonl") if event["kind"] == "group")
    assert [member["device"] for member in group["data"]["members"]] == [f"{kind}:0", f"{kind}:1"]
    for member in (0, 1):
        said = (folder / f"logs/rank_{member}.log").read_text()
        assert f"a group by cpu:gloo,{kind}:{library}" in said
        assert f"DDP on {kind} [{member}]" in said
        steps = lines(folder / f"logs/rank_{member}_metrics.jsonl")
        assert [step["step"] for step in steps] == list(range(1, 13))
        assert {step["mem_mib"] for step in steps} == {PEAK_MIB}
        assert {step["gpu_util"] for step in steps} == {None}
        assert all(step["compute_ms"] > 0 for step in steps)
    assert steps[-1]["loss"] < steps[0]["loss"]


SPREAD = """
import torch
from torch import nn
from torch.nn import functional
import motley


class Night(motley.Task):
    def model(self):
        return nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))

    def train_data(self):
        draw = torch.Generator().manual_seed(1)
        inputs = torch.randn(64, 4, generator=draw)
        return inputs, (inputs.sum(1) > 0).long()

    def loss(self, outputs, targets):
        return functional.cross_entropy(outputs, targets)

    def spread(self, model, devices):
        print("on", *devices, flush=True)
        model[0].to(devices[0])
        model[1].to(devices[1])
"""


@pytest.mark.longest
def test_a_rank_of_two_cards_is_one_word_from_cluster_toml_to_the_records(tmp_path: Path) -> None:
    python = python_with(tmp_path / "python", kind="cuda", built_for="hip", version="6.4.43482")
    (tmp_path / "night.py").write_text(SPREAD)
    cluster(tmp_path, python, 'devices = [["cuda:0", "cuda:1"]]')
    text = (tmp_path / "cluster.toml").read_text()
    (tmp_path / "cluster.toml").write_text(text.replace("simple_cnn/digits", "night.py"))
    done = motley(tmp_path, "run", "--plain", "--name", "night")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "experiments/night"
    group = next(event for event in lines(folder / "events.jsonl") if event["kind"] == "group")
    assert [member["device"] for member in group["data"]["members"]] == ["cuda:0+1"]
    assert "on cuda:0 cuda:1" in (folder / "logs/rank_0.log").read_text()
    steps = lines(folder / "logs/rank_0_metrics.jsonl")
    assert len(steps) == 12
    assert {step["mem_mib"] for step in steps} == {2 * PEAK_MIB}
    assert all(step["cards"] == [{"mib": PEAK_MIB, "util": None}] * 2 for step in steps)
    told = motley(tmp_path, "report", "night", "--json")
    assert "cuda:0+1" in told.stdout, told.stderr


@pytest.mark.longest
def test_a_card_is_measured_under_its_own_name(tmp_path: Path) -> None:
    python = python_with(tmp_path / "python", kind="xpu", built_for="xpu", version="20250301")
    cluster(tmp_path, python, 'devices = ["xpu:1"]')
    done = motley(tmp_path, "profile", "--json")
    assert done.returncode == 0, done.stderr
    assert NAME in done.stdout
    assert '"xpu:1"' in done.stdout


def test_a_card_that_torch_does_not_see_is_an_error_before_the_start(tmp_path: Path) -> None:
    python = python_with(tmp_path / "python", kind="xpu", built_for="xpu", version="20250301")
    cluster(tmp_path, python, 'devices = ["xpu:2", "cuda:0"]')
    done = motley(tmp_path, "check", "--json")
    assert done.returncode == 3, done.stderr
    causes = [finding["cause"] for finding in json.loads(done.stdout)["findings"] if finding["check"] == "devices"]
    assert causes == [
        f"torch {torch.__version__} sees no xpu:2 there, but xpu:0, xpu:1",
        f"cuda:0 is asked for, and torch {torch.__version__} is built for XPU 20250301",
    ]

"""`make bench-gpu`: what it says without a GPU, what its table says, and that it goes through on stand-ins for GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.gpu.bench_gpu import WANTED, Measured, rows_of
from tests.trainer.devices.stand_in_gpus import python_with

ROOT = Path(__file__).resolve().parents[1]
BENCH = "tests/bench/gpu/bench_gpu.py"
SMALL = """
import sys
from tests.bench.gpu import bench_gpu as bench
bench.TASK, bench.BATCH_A_GPU, bench.STEPS, bench.TURNS = "simple_cnn/digits", 16, 6, 1
bench.record = lambda title, text, rows: "\\n".join([title, text, *map(": ".join, rows)])
sys.exit(bench.main())
"""


def test_the_ratios_are_those_of_one_turn() -> None:
    found = {
        "Motley by nccl": [Measured(samples_per_s=900.0, busy=91.0), Measured(samples_per_s=450.0, busy=93.0)],
        "plain DDP by nccl": [Measured(samples_per_s=1000.0), Measured(samples_per_s=500.0)],
    }
    assert rows_of(found, ["A100", "A100"]) == [
        ("GPUs", "2: A100"),
        ("Motley by nccl, samples/s, median", "675"),
        ("Motley by nccl, GPUs busy, median", "92 %"),
        ("plain DDP by nccl, samples/s, median", "750"),
        ("Motley by nccl / plain DDP by nccl", "0.900 (0.900 to 0.900, 2 turns)"),
    ]


@pytest.mark.ranks
def test_without_a_gpu_it_says_so_and_measures_nothing() -> None:
    import torch

    if torch.accelerator.is_available():
        pytest.skip("there is a GPU here")
    before = (ROOT / "tests/bench/RESULTS.md").read_bytes()
    done = subprocess.run([sys.executable, BENCH], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (0, "", WANTED)
    assert (ROOT / "tests/bench/RESULTS.md").read_bytes() == before


@pytest.mark.ranks
@pytest.mark.longest
def test_it_goes_through_on_stand_ins(tmp_path: Path) -> None:
    python = python_with(tmp_path / "python", kind="cuda", built_for="hip", version="6.4.43482")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [python, "-c", SMALL], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "GPUs: 2: Stand-in GPU" in done.stdout
    assert "Motley by nccl / plain DDP by nccl: " in done.stdout
    assert "Motley by nccl / Motley by gloo: " in done.stdout
    assert "busy" not in done.stdout  # nobody says so of a stand-in

"""On a real NVIDIA GPU: ranks on CUDA beside ranks on the CPU, their times, and memory that runs out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from motley.trainer.contract.spec import RunOptions
from motley.trainer.devices.names import UNTOUCHED
from motley.trainer.training.loop import train_step
from motley.trainer.training.weighted_ddp import EventStopwatch
from tests.trainer.ranks import make_job, run_ranks
from tests.trainer.test_exactness import relative, single_gradient

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[2]
MIXED = ("cuda:0", "cpu")
CLUSTER = """
[cluster]
name = "mixed"
connect = "demo"

[[hosts]]
name = "desktop"
devices = ["cuda:0"]

[[hosts]]
name = "laptop"
devices = ["cpu"]

[run]
task = "simple_cnn/digits"
global_batch = 256
steps = 60
"""


def one_step(rank: int, world_size: int, given: dict[str, Any]) -> Any:
    """Gradients, times and memory of a first step."""
    options = RunOptions(task="simple_cnn/digits", norm="group", global_batch=128)
    job = make_job(rank, world_size, options, given["split"], double=True, devices=MIXED)
    train_step(job, job.batches.place(0))
    gradients = [p.grad.cpu().numpy() for p in job.model.parameters() if p.grad is not None]
    return gradients, job.watch.read(), job.meter.read().mib, isinstance(job.watch, EventStopwatch)


def test_a_cuda_rank_beside_a_cpu_rank_gives_the_gradient_of_one_process() -> None:
    for split in ((120, 8), (64, 64), (0, 128)):
        ranks = run_ranks(2, one_step, {"split": split})
        for gradients, (compute_ms, wait_ms), mib, _ in ranks:
            assert relative(gradients, single_gradient(True)) < 1e-9
            assert compute_ms > 0
            assert wait_ms >= 0
            assert mib > 0
        assert [by_events for *_, by_events in ranks] == [True, False]


def short_of_memory(rank: int, world_size: int, given: dict[str, Any]) -> Any:
    """A step whose share does not fit into what this process may take of the device."""
    options = RunOptions(task="resnet18/synthetic_image", norm="group", global_batch=given["batch"], num_samples=4096)
    job = make_job(rank, world_size, options, (given["batch"],), double=False, devices=("cuda:0",))
    train_step(job, job.batches.place(0))
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.6 * peak / whole)
    train_step(job, job.batches.place(1))
    return job.step, job.passes.limit, [name for name, *_ in job.recorder.told]  # type: ignore[attr-defined]


def test_memory_that_runs_out_halves_the_micro_batch_and_keeps_the_step() -> None:
    ((step, limit, told),) = run_ranks(1, short_of_memory, {"batch": 1024})
    assert step == 2
    assert limit is not None
    assert limit <= 512
    assert "ran_out_of_memory" in told


def test_a_run_with_a_gpu_and_a_cpu_gives_the_gpu_more(tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_text(CLUSTER)
    done = subprocess.run(
        [sys.executable, "-m", "motley.console", "run", "--plain", "--name", "night"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["state"] == "finished"
    assert summary["steps"] == 60
    shares = {host["name"]: host["share"] for host in summary["hosts"]}
    assert shares["desktop"] > shares["laptop"]
    lines = (tmp_path / "experiments/night/logs/rank_0_metrics.jsonl").read_text().splitlines()
    assert all(json.loads(line)["compute_ms"] > 0 for line in lines)


FORKED = """
import os
from motley.trainer.rank import forkserver
forkserver.preload()
pid = os.fork()
if pid == 0:
    import torch
    assert not forkserver.gpus_are_lost()
    os._exit(0 if float(torch.ones(3, device="cuda:0").sum()) == 3.0 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_process_forked_from_one_that_has_imported_everything_can_use_the_gpu() -> None:
    env = {**os.environ, **UNTOUCHED}
    done = subprocess.run(
        [sys.executable, "-c", FORKED], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.split() == ["0"], done.stderr

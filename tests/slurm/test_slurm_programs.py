"""What is trained on nodes of a job besides a task that comes with Motley: a script, and a language model."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.slurm.slurm import Slurm
from tests.slurm.test_slurm_runs import assert_given_back, cluster_toml, motley
from tests.support.absent import not_here

pytestmark = pytest.mark.long
ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ROOT / ".venv/libraries/bin/python"
SCRIPT = """\
import os

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
total = torch.ones(1) * (dist.get_rank() + 1)
dist.all_reduce(total)
odd = [name for name in os.environ if name.startswith("SLURM")]
cpus = len(os.sched_getaffinity(0))
print(f"total {int(total)} of {dist.get_world_size()}, of Slurm's variables {len(odd)}, on {cpus} CPUs", flush=True)
dist.destroy_process_group()
"""
LLAMA = """\
import sys
from pathlib import Path
from tests.libraries.tiny_llama import write_llama
write_llama(Path(sys.argv[1]))
"""


def test_a_script_has_its_group_on_the_nodes_and_nothing_of_slurm_s(slurm: Slurm, tmp_path: Path) -> None:
    """Nor is it bound to one CPU, as these nodes do with a step of one task where srun does not say otherwise."""
    cpus = len(os.sched_getaffinity(0))
    config = cluster_toml(slurm, tmp_path, steps=50)
    (tmp_path / "train.py").write_text(SCRIPT)
    config.write_text(config.read_text().partition("[run]")[0] + '[run]\nscript = "train.py"\n')

    done = motley(slurm, "run", "-c", str(config), "--plain", "--name", "script")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "finished"
    said = motley(slurm, "logs", "script", "-c", str(config)).stdout
    assert said.count(f"total 6 of 3, of Slurm's variables 0, on {cpus} CPUs") == 3, said
    assert_given_back(slurm, "script")


def test_a_language_model_is_trained_on_the_nodes(slurm: Slurm, tmp_path: Path) -> None:
    if not LIBRARIES.exists():
        not_here("a language model needs the libraries: make libraries")
    rows = tmp_path / "rows"
    rows.mkdir()
    subprocess.run([LIBRARIES, "-c", LLAMA, str(rows / "tiny")], cwd=ROOT, check=True)
    lines = ("the cat sat on the mat", "the big dog ran on the hill", "who is she", "why did he sit")
    (rows / "train.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines * 6))
    (rows / "test.jsonl").write_text(json.dumps({"text": lines[0]}) + "\n")
    config = cluster_toml(slurm, tmp_path, steps=6)
    text = config.read_text().replace(slurm.python, str(LIBRARIES)).replace("global_batch = 256", "global_batch = 6")
    config.write_text(
        text.replace("simple_cnn/digits", "causal_lm") + '[data]\npush = "rows"\n'
        '[task]\nmodel = "tiny"\ntrain = "train.jsonl"\ntest = "test.jsonl"\nlora_targets = ["all-linear"]\n'
    )

    done = motley(slurm, "run", "-c", str(config), "--plain", "--name", "llama", timeout_s=600.0)

    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["state"], summary["steps"]) == ("finished", 6)
    assert {host["name"] for host in summary["hosts"]} == {"fast-1", "fast-2", "slow"}
    assert_given_back(slurm, "llama")

"""What is trained in pods besides a task that comes with Motley: a language model, and a script of transformers'."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.kubernetes.api.cluster import Kubernetes
from tests.kubernetes.console import assert_nothing_left, cluster_toml, motley
from tests.support.absent import not_here

pytestmark = pytest.mark.long
ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ROOT / ".venv/libraries/bin/python"
SCRIPT = ROOT / "tests/libraries/programs/transformers_trainer.py"
LLAMA = """\
import sys
from pathlib import Path
from tests.libraries.tiny_llama import write_llama
write_llama(Path(sys.argv[1]))
"""


@pytest.fixture
def with_libraries(cluster: Kubernetes) -> Kubernetes:
    """Its images have them."""
    if not LIBRARIES.exists():
        not_here("language models need the libraries: make libraries")
    cluster.settings.python = str(LIBRARIES)
    return cluster


def test_a_language_model_is_trained_in_pods_and_comes_home(with_libraries: Kubernetes, tmp_path: Path) -> None:
    rows = tmp_path / "rows"
    rows.mkdir()
    subprocess.run([LIBRARIES, "-c", LLAMA, str(rows / "tiny")], cwd=ROOT, check=True)
    lines = ("the cat sat on the mat", "the big dog ran on the hill", "who is she", "why did he sit")
    (rows / "train.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines * 6))
    (rows / "test.jsonl").write_text(json.dumps({"text": lines[0]}) + "\n")
    config = cluster_toml(tmp_path, steps=6)
    text = config.read_text().replace("global_batch = 64", "global_batch = 6").replace("simple_cnn/digits", "causal_lm")
    config.write_text(
        text + '[data]\npush = "rows"\n'
        '[task]\nmodel = "tiny"\ntrain = "train.jsonl"\ntest = "test.jsonl"\nlora_targets = ["all-linear"]\n'
    )

    done = motley(with_libraries, config, "run", "--plain", "--name", "llama")

    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["state"], summary["steps"]) == ("finished", 6)
    assert [host["name"] for host in summary["hosts"]] == ["big", "small"]
    assert all(host["share"] > 0 for host in summary["hosts"])
    assert (tmp_path / "experiments/llama/checkpoints/final.pt").exists()
    assert_nothing_left(with_libraries, claims=True)


def test_a_script_with_the_trainer_of_transformers_runs_in_pods_as_it_is(
    with_libraries: Kubernetes, tmp_path: Path
) -> None:
    config = cluster_toml(tmp_path, steps=1)
    config.write_text(config.read_text().partition("[run]")[0] + '[run]\nscript = "train.py"\n')
    (tmp_path / "train.py").write_bytes(SCRIPT.read_bytes())

    done = motley(with_libraries, config, "run", "--plain", "--name", "trainer")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"] == "finished"
    experiment = tmp_path / "experiments/trainer"
    printed = (experiment / "logs/rank_0.log").read_text()
    assert [float(loss) for loss in re.findall(r"'loss': '?([0-9.]+)", printed)], printed
    readings = [json.loads(line) for line in (experiment / "logs/rank_0_metrics.jsonl").read_text().splitlines()]
    assert max(reading.get("step", 0) for reading in readings) == 40
    assert_nothing_left(with_libraries, claims=True)

"""docs/use-model.md: each command and each snippet of it works as it stands there."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ports import free_pair

pytestmark = pytest.mark.ranks
ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/use-model.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [text.strip() for kind, text in BLOCKS if not kind]
SNIPPETS = [text for kind, text in BLOCKS if kind == "python"]
BOUND_S = 120.0
CLUSTER = """
[cluster]
name = "page"
connect = "demo"
port = {port}
[[hosts]]
name = "box0"
[run]
{run}
"""


def done(folder: Path, *argv: str) -> str:
    env = {"PYTHONPATH": str(ROOT), "HOME": str(folder), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, *argv], cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=BOUND_S, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def motley(folder: Path, line: str) -> str:
    return done(folder, "-m", "motley.console", *line.split()[1:])


def test_the_page_has_four_commands_and_four_snippets_of_few_lines() -> None:
    """The second is for pictures in files: tests/test_image_folder.py; the last for language models:
    tests/libraries."""
    assert [command.split()[:3] for command in COMMANDS] == [
        ["motley", "export", "night"], ["motley", "export", "spirals"], ["motley", "export", "poet"],
        ["motley", "export", "poet"],
    ]  # fmt: skip
    for snippet in SNIPPETS:
        lines = [line for line in snippet.splitlines() if line and not line.startswith(("import ", "from "))]
        assert len(lines) <= 10
    assert len(SNIPPETS) == 4


@pytest.mark.longest
def test_a_task_that_comes_with_motley(tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_text(CLUSTER.format(port=free_pair(), run='task = "simple_cnn/digits"\nsteps=3'))
    motley(tmp_path, "motley run --plain --name night")
    assert motley(tmp_path, COMMANDS[0]) == "night.safetensors\n"
    said = ast.literal_eval(done(tmp_path, "-c", SNIPPETS[0]))
    assert len(said) == 5
    assert set(said) <= set(map(str, range(10)))
    right = SNIPPETS[0].replace("pictures = torch.randint(256, (5, channels, size, size))  # yours come here", TEST_SET)
    assert right != SNIPPETS[0]
    told = ast.literal_eval(done(tmp_path, "-c", f"{right}\n{ACCURACY}"[right.index("import") :]).splitlines()[-1])
    assert told[0] == pytest.approx(told[1])  # so they are normalised as in training


TEST_SET = """
from motley.trainer.contract.spec import DataOptions, RunOptions
from motley.trainer.tasks import load
test = load(RunOptions(), DataOptions(), lambda *_: None).test_data()
pictures = test.images
"""
ACCURACY = """
right = model((pictures - mean) / std).argmax(dim=1) == test.labels
print([float(right.double().mean()), json.loads(about["accuracy"])])
"""


@pytest.mark.long
def test_a_task_of_one_s_own(tmp_path: Path) -> None:
    motley(tmp_path, "motley new task night.py")
    run = 'task = "night.py"\nsteps = 40\n[task]\nwidth = 16'
    (tmp_path / "cluster.toml").write_text(CLUSTER.format(port=free_pair(), run=run))
    motley(tmp_path, "motley run --plain --name spirals")
    assert motley(tmp_path, COMMANDS[1]) == "spirals.pt\n"
    said = ast.literal_eval(done(tmp_path, "-c", SNIPPETS[2]))
    assert len(said) == 2
    assert set(said) <= {"first", "second"}

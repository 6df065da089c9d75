"""Pictures of one's own on real demo hosts: learned, exported, predicted with; those that differ end the run."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pictures import COLOURS, write_pictures
from tests.support.ports import free_pair

pytestmark = pytest.mark.ranks
ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/use-model.md").read_text(encoding="utf-8")
LOADS, DECODES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[:2]
BOUND_S = 120.0
CLUSTER = """
[cluster]
name = "photos"
connect = "demo"
port = {port}
[[hosts]]
name = "box0"
[[hosts]]
name = "box1"
[run]
task = "simple_cnn/image_folder"
norm = "group"
global_batch = 16
epochs = 5
[data]
image_size = 16
{data}
"""


def done(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    env = {"PYTHONPATH": str(ROOT), "HOME": str(folder), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *argv], cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=BOUND_S, check=False,
    )  # fmt: skip


def motley(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return done(folder, "-m", "motley.console", *words)


@pytest.mark.longest
def test_they_are_learned_by_two_hosts_and_the_page_predicts_with_what_was_exported(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", dict.fromkeys(COLOURS, 30))
    data = 'push = "photos"\nworkers = 1'
    (tmp_path / "cluster.toml").write_text(CLUSTER.format(port=free_pair(), data=data))
    ran = motley(tmp_path, "run", "--plain", "--name", "night")
    assert ran.returncode == 0, ran.stderr
    assert "3 classes, 72 pictures to train on, 18 to test on; one of 5 of each class" in ran.stderr + ran.stdout
    exported = motley(tmp_path, "export", "night", "night.safetensors")
    assert exported.returncode == 0, exported.stderr
    files = [f"photos/{colour}/{number:03}.png" for colour in sorted(COLOURS) for number in (0, 2, 4)]
    asked = DECODES.replace('("one.jpg", "two.jpg")', repr(files))
    snippet = re.sub(r"^pictures = .*$", lambda _: asked, LOADS, flags=re.MULTILINE)
    assert asked in snippet != LOADS
    predicted = done(tmp_path, "-c", snippet)
    assert predicted.returncode == 0, predicted.stderr
    said = ast.literal_eval(predicted.stdout)
    assert sum(name == Path(file).parent.name for name, file in zip(said, files, strict=True)) >= 8


@pytest.mark.longest
def test_other_pictures_on_one_host_end_the_run_before_its_first_step(tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_text(CLUSTER.format(port=free_pair(), data='path = "~/photos"'))
    refused = motley(tmp_path, "run", "--plain", "--name", "none")
    assert refused.returncode == 3
    assert "[data] path is not to be had, " in refused.stderr
    (place,) = (tmp_path / ".motley/demo").iterdir()
    for host in ("box0", "box1"):
        write_pictures(place / host / "photos", dict.fromkeys(COLOURS, 10))
    (place / "box1/photos/red/003.jpg").rename(place / "box1/photos/red/033.jpg")
    ran = motley(tmp_path, "run", "--plain", "--name", "night")
    assert ran.returncode == 1
    said = ran.stderr + ran.stdout
    assert re.search(
        r"rank \d on box\d has other training data than rank \d on box\d: the names of its 24 files and their classes "
        r"have the hash \w{8}, not \w{8}\. Give all hosts the same: \[data\] push does",
        said,
    ), said
    assert "step 1/" not in said

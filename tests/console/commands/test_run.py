"""What `motley run` refuses at once, before a screen is drawn or a host is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.console.commands.run import run_plan
from motley.remote.errors import ConfigError


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ('script = "train.py"', r"run\.script: there is no file .*/train\.py"),
        ('task = "night.py:Night"', r"run\.task: there is no file .*/night\.py"),
        ('task = "vision.night:Night"', r"run\.task: there is no module vision\.night"),
    ],
)
def test_files_of_the_user_s_own_that_are_not_there(tmp_path: Path, run: str, expected: str) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(f'[[hosts]]\nname = "box1"\n[run]\n{run}\n')
    with pytest.raises(ConfigError, match=expected):
        run_plan(path)
    for name in ("train.py", "night.py", "vision/night.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert run_plan(path).cluster == tmp_path.name

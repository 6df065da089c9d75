"""Which text of a program a host runs: what it was sent, or what it has compiled already."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from motley.remote.provision.bootstrap import command, program
from motley.trainer.bootstrap.code_trees import STAMP, stamp

SAYS_WHERE = 'def main(argv, stdin):\n    print(\'motley:{"from": "there"}\')\n'


def run(home: Path, code: str) -> list[dict[str, object]]:
    """What `lacks` answers, of a host that has this folder of our code; it is asked for no file."""
    text = program("missing_files", code)
    env = {"HOME": str(home), "PATH": os.environ["PATH"]}
    done = subprocess.run(command(sys.executable, text), input=text + b"{}\n", capture_output=True, env=env, check=True)
    return [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith(b"motley:")]


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / ".motley/code/f00/motley/trainer/bootstrap"
    folder.mkdir(parents=True)
    for package in (folder, *folder.parents[:2]):
        (package / "__init__.py").touch()
    stamp(str(tmp_path / ".motley/code/f00"))
    return folder


def test_a_host_that_has_our_code_runs_it_from_there(tmp_path: Path, code: Path) -> None:
    code.joinpath("missing_files.py").write_text(SAYS_WHERE)
    assert run(tmp_path, ".motley/code/f00") == [{"from": "there"}]
    assert run(tmp_path, "") == [{"ok": True, "lacks": []}]


def test_code_that_is_not_there_is_not_needed(tmp_path: Path, code: Path) -> None:
    assert not code.joinpath("missing_files.py").exists()
    assert run(tmp_path, ".motley/code/f00") == [{"ok": True, "lacks": []}]
    assert run(tmp_path, ".motley/code/f01") == [{"ok": True, "lacks": []}]


def test_code_that_nobody_has_looked_at_since_the_machine_was_started_is_not_run(tmp_path: Path, code: Path) -> None:
    code.joinpath("missing_files.py").write_text(SAYS_WHERE)
    (tmp_path / ".motley/code/f00" / STAMP).write_text("the boot before\n")
    assert run(tmp_path, ".motley/code/f00") == [{"ok": True, "lacks": []}]


@pytest.mark.parametrize("left", ["import motley.trainer.bootstrap.code_trees\n", "def main(", ""])
def test_code_that_a_power_cut_has_damaged_is_not_needed(tmp_path: Path, code: Path, left: str) -> None:
    code.joinpath("missing_files.py").write_text(left)
    assert run(tmp_path, ".motley/code/f00") == [{"ok": True, "lacks": []}]

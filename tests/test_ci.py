"""CI runs what `make` runs: the workflow calls .ci/run, and the hooks before a commit are those of `make lint`."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def text(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


def test_the_hooks_are_the_commands_of_make_lint() -> None:
    (recipe,) = re.findall(r"^lint: .*\n((?:\t.*\n)+)", text("Makefile"), re.MULTILINE)
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.splitlines()]
    assert len(commands) >= 4
    assert re.findall(r"^ +entry: (.*)$", text(".pre-commit-config.yaml"), re.MULTILINE) == commands


def test_the_workflow_runs_all_of_ci_with_the_python_of_each_job() -> None:
    workflow = text(".github/workflows/ci.yml")
    (run,) = re.findall(r"^ +run: (.*)$", workflow, re.MULTILINE)
    assert run.startswith("sudo env ")
    assert 'PYTHON="$(command -v python)"' in run
    assert run.endswith(" bash .ci/run")
    (pythons,) = re.findall(r"^ +python: \[(.*)\]$", workflow, re.MULTILINE)
    listed = re.findall(r'"([\d.]+)"', pythons)
    (oldest,) = re.findall(r'requires-python = ">=([\d.]+)"', text("pyproject.toml"))
    assert listed[0] == oldest
    (in_the_lock,) = re.findall(r'parametrize\("python", \[(.*)\]\)', text("tests/test_lock.py"))
    assert set(listed) <= set(re.findall(r'"([\d.]+)"', in_the_lock))

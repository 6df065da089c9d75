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
    in_the_lock = re.findall(r'parametrize\("python", \[(.*)\]\)', text("tests/test_lock.py"))
    assert in_the_lock
    for pythons in in_the_lock:
        assert set(listed) <= set(re.findall(r'"([\d.]+)"', pythons))


def test_each_test_is_in_one_part_of_ci_but_those_that_need_a_gpu_docker_or_all_of_a_release() -> None:
    """Which part takes a test, its marks say: `-m` of the part's recipe."""
    (parts,) = re.findall(r"^PARTS=\((.*)\)$", text(".ci/run"), re.MULTILINE)
    chosen = dict(re.findall(r"^(test-[\w-]+):.*\n\t.*-m '?([\w ]+?)'? (?:-rs )?\$", text("Makefile"), re.MULTILINE))
    chosen["test-fast"] = chosen.pop("test-fast-only")
    words = set(re.findall(r'^    "(\w+): ', text("pyproject.toml").partition("markers = [")[2], re.MULTILINE))
    for kinds in ((), ("runs",), ("ranks",), ("runs", "ranks"), ("lab",)):
        for marks in (kinds, (*kinds, "long")):
            has = {word: word in marks for word in words}
            taken = [part for part in parts.split() if eval(chosen[part], {}, has)]
            assert len(taken) == 1, (marks, taken)
            assert kinds == () or taken[0].endswith("-long") == ("long" in marks), (marks, taken)
    (short,) = re.findall(r"^test: (.*)$", text("Makefile"), re.MULTILINE)
    assert set(short.split()) <= set(parts.split())
    assert not [part for part in short.split() if part.endswith("-long")]


def test_ci_leaves_the_longest_out_and_make_does_not() -> None:
    assert re.findall(r'make "\$part" ARGS="([^"]*)"', text(".ci/run")) == ["--short --durations=10"]
    assert not re.search(r"^(\t(?!@echo)|\w+ .?=).*--short", text("Makefile"), re.MULTILINE)

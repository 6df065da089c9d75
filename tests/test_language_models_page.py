"""docs/language-models.md and examples/llm_lora say what there is: keys, files, rows."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from motley.remote.config.load import load
from motley.trainer.llm.options import Options

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples/llm_lora"
PAGE = (ROOT / "docs/language-models.md").read_text(encoding="utf-8")
README = (EXAMPLE / "README.md").read_text(encoding="utf-8")
CLUSTER: dict[str, Any] = tomllib.loads((EXAMPLE / "cluster.toml").read_text(encoding="utf-8"))


def first_column(said: str) -> set[str]:
    cells = re.findall(r"^\| (`.+?) \|", said, re.MULTILINE)
    return {name.split(" ")[-1] for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_the_page_has_every_key_of_the_task_and_no_other() -> None:
    table = PAGE.partition("## Keys of `[task]`")[2].partition("\n\n")[0]
    assert first_column(table) == {field.name for field in dataclasses.fields(Options)}


def test_the_example_s_task_is_one_and_its_readme_says_what_each_key_does() -> None:
    given = CLUSTER["task"].items()
    task: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in given}
    assert Options(**task).length == 2048
    table = README.partition("## What each key does")[2].partition("\n## ")[0]
    keys = {key for name in ("environment", "data", "run", "task") for key in CLUSTER[name]}
    assert first_column(table) == {*keys, *CLUSTER["hosts"][0]}


def test_its_rows_are_thirty_questions_and_answers() -> None:
    file = EXAMPLE / CLUSTER["data"]["push"] / CLUSTER["task"]["train"]
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 30
    assert {tuple(row) for row in rows} == {("question", "answer")}
    assert len({row["question"] for row in rows}) == 30
    assert all(value.strip() == value != "" for row in rows for value in row.values())


@pytest.mark.parametrize("script", ["trl_sft.py", "unsloth_sft.py"])
def test_scripts_of_other_trainers_know_nothing_of_motley(script: str) -> None:
    tree = ast.parse((EXAMPLE / "script" / script).read_text(encoding="utf-8"))
    imported = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert not any("motley" in ast.unparse(node) for node in imported)
    assert "balanced" in (ast.get_docstring(tree) or "") or "same batch" in (ast.get_docstring(tree) or "")


def test_they_are_started_as_they_are() -> None:
    cluster = load(EXAMPLE / "script.toml")
    assert (EXAMPLE / str(cluster.run.script)).is_file()
    assert [host.name for host in cluster.hosts] == [host["name"] for host in CLUSTER["hosts"]]


def test_every_file_the_readme_points_to_exists() -> None:
    links = re.findall(r"\]\(([^):#]+)[^)]*\)", README)
    assert len(links) > 8
    assert [link for link in links if link != "https" and not (EXAMPLE / link).exists()] == []

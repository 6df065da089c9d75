"""The README says what there is: every command, every make target that it names."""

from __future__ import annotations

import re
from pathlib import Path

from motley.console.cli import app
from motley.trainer.contract.task_name import DATASETS, MODELS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def test_every_command_is_in_the_readme_and_no_other() -> None:
    commands = {command.name for command in app.registered_commands}
    table = README.partition("## Commands")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `motley (\w+)", table, re.MULTILINE)) == commands


def test_every_model_and_data_set_is_in_the_readme_and_no_other() -> None:
    table = README.partition("| model | is |")[2].partition("\n\n")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith(("| `", "| | | `"))]
    assert set(re.findall(r"`(\w+)`", "".join(row[1] for row in rows))) == set(MODELS)
    assert set(re.findall(r"`(\w+)`", "".join(row[3] for row in rows))) == set(DATASETS)


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", README, re.MULTILINE))
    assert {first or second for first, second in named} <= targets


def test_every_verb_of_a_host_is_in_the_contracts() -> None:
    rows = re.findall(r"^\| ([a-z, ]+) \|", (ROOT / "trainer" / "__main__.py").read_text(), re.MULTILINE)
    verbs = ", ".join(rows).split(", ")
    contracts = (ROOT / "docs" / "contracts.md").read_text()
    assert len(verbs) > 10
    assert [verb for verb in verbs if verb != "verb" and f"| `{verb}" not in contracts] == []


def test_every_file_it_points_to_exists() -> None:
    links = re.findall(r"\]\(([^):#]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []

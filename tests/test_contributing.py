"""CONTRIBUTING.md names what there is: files, tests, make targets, the programs that make pages."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_every_file_it_names_exists() -> None:
    files = set(re.findall(r"`((?:console|docs|profiles|remote|tests|trainer)/[\w/.-]*)`", TEXT))
    assert len(files) > 40
    assert [file for file in sorted(files) if not (ROOT / file).exists()] == []
    links = re.findall(r"\]\(([^):#]+)\)", TEXT)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_test_it_names_exists() -> None:
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    named = set(re.findall(r"`(test_\w+\.py)`", TEXT))
    assert len(named) > 10
    assert named - there == set()


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", TEXT, re.MULTILINE))
    assert {"venv", "lint"} <= named <= targets
    (parts,) = re.findall(r"^PARTS=\((.*)\)$", (ROOT / ".ci/run").read_text("utf-8"), re.MULTILINE)
    assert set(parts.split()) - named == set(), "what CI runs is in the table"


def test_what_a_recipe_says_is_in_a_file_is_there() -> None:
    """Such as a row of `KEYS` in `console/view/key_bindings.py`."""
    said = re.findall(r"`(\w+)` (?:in|of)\s`((?:console|remote|tests|trainer)/[\w/]+\.py)`", TEXT)
    assert len(said) >= 9
    for name, file in said:
        text = (ROOT / file).read_text("utf-8")
        assert re.search(rf"^(?:    )?(?:async def|def|class) {name}\b|^{name}\b.* = ", text, re.MULTILINE), (
            name,
            file,
        )


def test_pages_made_by_programs_are_made_by_programs_that_exist() -> None:
    block = TEXT.partition("## Pages made by programs")[2].partition("\n## ")[0]
    modules = re.findall(r"-m motley\.([\w.]+)", block)
    assert len(modules) == 4
    assert [module for module in modules if not (ROOT / module.replace(".", "/")).with_suffix(".py").is_file()] == []
    assert (ROOT / "docs" / "architecture.py").is_file()

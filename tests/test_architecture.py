"""docs/architecture.md says what is there: pictures and tables are those of the code, walks name what exists."""

from __future__ import annotations

import re
from pathlib import Path

import grimp
import pytest

from docs import architecture

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
WALKS = {part.partition("\n")[0]: part for part in PAGE.partition("## Three walks")[2].split("\n### ")[1:]}
FILE = r"`((?:console|profiles|remote|trainer)/[\w/.]+)`"


def test_the_page_is_what_the_code_makes() -> None:
    assert architecture.page(PAGE) == PAGE, "out of date: python docs/architecture.py"


@pytest.mark.parametrize("floor", architecture.IN_ROOMS)
def test_every_room_has_its_line_and_says_what_it_is(floor: str) -> None:
    packages = {path.parent.name for path in (ROOT / floor).glob("*/__init__.py")}
    files = {path.stem for path in (ROOT / floor).glob("*.py")} - {"__init__"}
    section = PAGE.partition(f"## Rooms of `{floor}`")[2].partition("\n## ")[0]
    lines = re.findall(r"^\| \[`(\w+)`\]\(\.\./[\w/.]+\) \| (.*) \|$", section, re.MULTILINE)
    assert sorted(name for name, _ in lines) == sorted(packages | files)
    assert [name for name, says in lines if not says] == []


def test_a_picture_leaves_out_only_what_follows() -> None:
    graph = grimp.build_graph("motley", cache_dir=None)
    for floor in architecture.IN_ROOMS:
        whole = architecture.imports(graph, f"motley.{floor}")
        drawn = {one: frozenset(below) for one, below in architecture.reduced(whole).items()}
        assert sum(map(len, drawn.values())) < sum(map(len, whole.values()))
        assert {one: architecture.reach(drawn, one) for one in drawn} == {
            one: architecture.reach(whole, one) for one in whole
        }


def test_an_arrow_that_follows_from_others_is_left_out() -> None:
    chain = {"a": frozenset("bc"), "b": frozenset("c"), "c": frozenset("")}
    assert architecture.reduced(chain) == {"a": ["b"], "b": ["c"], "c": []}


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^):#]+)\)", PAGE)
    assert len(links) > 40
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_there_are_three_walks_and_every_file_in_them_exists() -> None:
    assert len(WALKS) == 3
    for title, walk in WALKS.items():
        files = re.findall(FILE, walk)
        assert len(files) > 10, title
        assert [file for file in files if not (ROOT / file).is_file()] == []


@pytest.mark.parametrize("title", WALKS)
def test_a_step_of_a_walk_names_a_file_and_what_is_in_it(title: str) -> None:
    lines = re.findall(r"^\d+\. .*", WALKS[title], re.MULTILINE)
    steps = [re.match(rf"\d+\. {FILE} ((?:`\w+`(?:, )?)+):", line) for line in lines]
    assert [line for line, step in zip(lines, steps) if step is None] == []
    for step in filter(None, steps):
        text = (ROOT / step[1]).read_text("utf-8")
        for name in re.findall(r"`(\w+)`", step[2]):
            assert re.search(rf"^\s*(?:async def|def|class) {name}\b|^{name}\b.* = ", text, re.MULTILINE), step[0]

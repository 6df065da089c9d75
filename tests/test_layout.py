"""How the code lies: rooms that say what they are for, files that fit into a head, folders that fit one look."""

from __future__ import annotations

import ast
import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("console", "profiles", "remote", "trainer")
MOST_LINES = 320
MOST_FILES = 20
FILES = [
    ROOT / path
    for path in subprocess.run(
        ["git", "ls-files", *PACKAGES, "tests", "docs", "motley"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    if path.endswith(".py") and (ROOT / path).is_file()
]
ROOMS = [path for path in FILES if path.name == "__init__.py" and path.parent != ROOT / "trainer/tasks"]


def test_no_file_is_too_long() -> None:
    assert {str(path): n for path in FILES if (n := len(path.read_bytes().splitlines())) > MOST_LINES} == {}


def test_no_folder_holds_too_much() -> None:
    counts = Counter(path.parent.relative_to(ROOT).as_posix() for path in FILES)
    assert {folder: n for folder, n in counts.items() if n > MOST_FILES} == {}


def test_every_folder_of_the_packages_is_a_room() -> None:
    mine = [path for path in FILES if path.relative_to(ROOT).parts[0] in PACKAGES]
    assert {path.parent for path in mine} == {path.parent for path in mine if path.name == "__init__.py"}


@pytest.mark.parametrize("path", ROOMS, ids=lambda path: path.parent.relative_to(ROOT).as_posix())
def test_a_room_says_what_it_is_for_and_imports_nothing(path: Path) -> None:
    """It is read by whoever imports anything of the room, on hosts by every process."""
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    assert ast.get_docstring(tree)
    at_once = [node for node in tree.body if not isinstance(node, ast.FunctionDef)]  # what is asked for comes later
    assert not [node for part in at_once for node in ast.walk(part) if isinstance(node, (ast.Import, ast.ImportFrom))]


def test_only_the_table_of_ways_knows_them_by_name() -> None:
    """What is asked elsewhere is what a way means (`host.way.emulated`): a new one is a row of the table then."""
    table = {"remote/config/ways.py", "remote/config/cluster.py", "remote/hosts/reach.py"}
    asking = set()
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        nodes = list(ast.walk(ast.parse(path.read_bytes()))) if name.startswith(("console/", "remote/")) else []
        calls = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
        if any(isinstance(node, ast.Attribute) and node.attr == "connect" and id(node) not in calls for node in nodes):
            asking.add(name)
    assert asking <= table


def test_a_test_lies_in_the_room_of_what_it_tests() -> None:
    """tests/<package>/<room>/ has the name of a room; what tests several rooms lies above them."""
    rooms = {path.parent.relative_to(ROOT).as_posix() for path in FILES if path.name == "__init__.py"}
    folders = {
        path.parent.relative_to(ROOT / "tests").as_posix() for path in FILES if path.is_relative_to(ROOT / "tests")
    }
    assert {folder for folder in folders if folder.partition("/")[0] in PACKAGES} <= rooms

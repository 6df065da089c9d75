"""Kinds of tests, which are markers of pyproject.toml, and the files that can hold one, told before these are imported.

Most targets of make want one kind, which a few files hold. To import all 430 and to make 7,000 tests of them, in each
worker, took longer than the tests of many a target.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
OF_FOLDERS = {
    "lab": "lab",
    "slurm": "slurm",
    "kubernetes": "kubernetes",
    "language_models": "llm",
    "libraries": "libraries",
    "trackers": "trackers",
}
# Who uses one of these starts processes of a run: hosts, or a supervisor, its coordinator and its ranks.
WHOLE_RUNS = {"stage", "machine"}
KINDS = {*OF_FOLDERS.values(), "runs", "ranks", "long", "gpu", "containers", "release", "browser", "longest"}


def of_folder(path: Path) -> str | None:
    """The kind of every test in that file, by the folder of `tests` it lies in; None where the folder tells none."""
    top, *rest = path.relative_to(TESTS).parts
    if top == "browser" and rest:
        return "browser" if "chromium" in path.stem else "libraries"
    return OF_FOLDERS.get(top)


def asked_for(expression: str) -> tuple[frozenset[str], frozenset[str]]:
    """The kinds that each test has, and those that none has, by pytest's -m; what is no row of `and` tells of none."""
    wanted: set[str] = set()
    unwanted: set[str] = set()
    for term in expression.split(" and "):
        match = re.fullmatch(r"\s*(not\s+)?(\w+)\s*", term)
        if match is None:
            return frozenset(), frozenset()
        (unwanted if match[1] else wanted).add(match[2])
    return frozenset(wanted), frozenset(unwanted)


@cache
def _kinds_of(path: Path) -> tuple[frozenset[str], frozenset[str]]:
    """The kinds that a test of the file may have, and those that all have."""
    text = path.read_text()
    some = set(re.findall(r"\bmark\.(\w+)", text))
    every = {kind for line in re.findall(r"(?m)^pytestmark = .*", text) for kind in re.findall(r"\bmark\.(\w+)", line)}
    if any(re.search(rf"\b{name}\b", text) for name in WHOLE_RUNS):
        some.add("runs")
    for found in (some, every):
        if "longest" in found:
            found.add("long")
    if folder := of_folder(path):
        some.add(folder)
        every.add(folder)
    return frozenset(some), frozenset(every)


def can_hold(path: Path, expression: str) -> bool:
    """Whether a test of that file may be one that -m asks for."""
    wanted, unwanted = asked_for(expression)
    some, every = _kinds_of(path)
    return wanted & KINDS <= some and not unwanted & every


def hidden(item: pytest.Item) -> list[str]:
    """The kinds of the test that its file doesn't tell, so that `can_hold` would be wrong."""
    some, _ = _kinds_of(item.path)
    return sorted(kind for kind in KINDS - some if item.get_closest_marker(kind))

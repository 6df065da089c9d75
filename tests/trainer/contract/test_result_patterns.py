"""The patterns of `[run] results`: as a shell's, with `**` for any folders."""

from __future__ import annotations

import fnmatch
import glob
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motley.trainer.contract.result_patterns import Patterns, problem

PARTS = st.sampled_from(["a", "b", "ab", "a.txt", "b.txt", ".x"])
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
PIECES = st.sampled_from(["a", "*", "?", "*.txt", "[ab]", "[!a]", "a*", "**"])


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("out/**", "out/a", True),
        ("out/**", "out/deep/er/a", True),
        ("out/**", "out", False),
        ("out/", "out/deep/a", True),
        ("out", "out", True),
        ("out", "out/deep/a", True),
        ("out", "output", False),
        ("*.pt", "last.pt", True),
        ("*.pt", "deep/last.pt", False),
        ("runs/**/events.*", "runs/events.1", True),
        ("runs/**/events.*", "runs/x/y/events.1", True),
        ("runs/**/events.*", "runs/x/y/other.1", False),
        ("out/[!a]?", "out/bc", True),
        ("out/[!a]?", "out/ac", False),
        ("a+b/(x)", "a+b/(x)", True),
        ("out/[x", "out/[x", True),
    ],
)
def test_what_a_pattern_means(pattern: str, path: str, matches: bool) -> None:
    assert Patterns([pattern]).match(path) is matches


@given(st.lists(PIECES, min_size=1, max_size=4).filter(lambda parts: parts[0] != "**"), PATHS)
def test_a_folder_above_a_file_that_matches_may_hold_it(parts: list[str], path: str) -> None:
    patterns = Patterns(["/".join(parts)])
    if patterns.match(path):
        above = path.split("/")[:-1]
        assert all(patterns.may_hold("/".join(above[: n + 1])) for n in range(len(above)))


@given(st.lists(PIECES.filter(lambda part: part != "**"), min_size=1, max_size=4), PATHS)
def test_without_any_folders_each_part_is_the_shell_s(parts: list[str], path: str) -> None:
    names = path.split("/")
    as_long = len(names) == len(parts) or (len(names) > len(parts) and parts[-1].isalnum())  # all that is in a folder
    shell = as_long and all(map(fnmatch.fnmatchcase, names, parts))
    assert Patterns(["/".join(parts)]).match(path) is shell


def test_as_glob_has_it_on_a_disk(tmp_path: Path) -> None:
    for path in ("out/a.txt", "out/b/c.txt", "out/b/d/e.bin", "other/a.txt", "top.txt"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    files = [os.path.relpath(p, tmp_path) for p in tmp_path.rglob("*") if p.is_file()]
    for pattern in ("out/**", "out/**/*.txt", "*/a.txt", "*.txt", "out/b/*"):
        there = {p for p in glob.glob(pattern, root_dir=tmp_path, recursive=True) if (tmp_path / p).is_file()}
        assert {p for p in files if Patterns([pattern]).match(p)} == there


@pytest.mark.parametrize(
    "pattern", ["", " ", "/tmp/**", "~/x", "../x", "a/../b", "a//b", "./x", "a**/b", "**", "**/*.pt", "a\nb"]
)
def test_what_can_be_no_pattern_is_told(pattern: str) -> None:
    assert problem(pattern)


@pytest.mark.parametrize("pattern", ["out/**", "out/", "*.pt", "runs/*/a b.txt", "lightning_logs/**/metrics.csv"])
def test_what_can_be_one(pattern: str) -> None:
    assert problem(pattern) == ""

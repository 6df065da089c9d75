"""What targets of make ask pytest for, and which files are read for it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import kinds

TESTS = Path(__file__).parents[1]
MAKEFILE = TESTS.parent / "Makefile"


def test_each_target_s_kinds_are_understood_and_registered(request: pytest.FixtureRequest) -> None:
    asked = re.findall(r"(?:TESTS\)|SPREAD\)|pytest)[^\n]* -m (?:'([^']+)'|(\w+))", MAKEFILE.read_text())
    assert len(asked) > 15
    registered = {line.split(":")[0] for line in request.config.getini("markers")}
    assert registered >= kinds.KINDS
    for quoted, word in asked:
        wanted, unwanted = kinds.asked_for(quoted or word)
        assert wanted | unwanted
        assert wanted | unwanted <= kinds.KINDS


@pytest.mark.parametrize(
    ("expression", "wanted", "unwanted"),
    [
        ("lab", {"lab"}, set()),
        ("ranks and not long", {"ranks"}, {"long"}),
        ("not runs and not  lab", set(), {"runs", "lab"}),
        ("lab or slurm", set(), set()),
        ("not (lab or slurm)", set(), set()),
        ("ranks and not (lab or slurm)", set(), set()),
        ("", set(), set()),
    ],
)
def test_only_rows_of_and_leave_files_out(expression: str, wanted: set[str], unwanted: set[str]) -> None:
    assert [set(found) for found in kinds.asked_for(expression)] == [wanted, unwanted]


@pytest.mark.parametrize(
    ("file", "expression", "can"),
    [
        ("lab/test_elastic.py", "lab and long", True),
        ("lab/test_elastic.py", "not lab", False),
        ("lab/test_elastic.py", "slurm", False),
        ("lab/test_chaos.py", "lab and long", True),  # it is one of the longest
        ("lab/test_restart.py", "lab and not long", False),
        ("browser/test_console_in_chromium.py", "browser", True),
        ("browser/test_page.py", "libraries", True),
        ("browser/test_page.py", "browser", False),
        ("remote/session/test_join_host.py", "runs and not long", True),  # by its fixture alone
        ("trainer/test_regroup.py", "ranks and not long", True),
        ("trainer/test_regroup.py", "not ranks", False),
        ("trainer/test_accumulation.py", "not long", True),  # some of its tests are
        ("support/test_kinds.py", "not lab and not runs", True),
        ("support/test_kinds.py", "gpu", False),
        ("support/test_kinds.py", "lab or gpu", True),
    ],
)
def test_a_file_is_left_out_only_if_all_its_tests_would_be(file: str, expression: str, can: bool) -> None:
    assert kinds.can_hold(TESTS / file, expression) == can


def test_a_kind_that_is_given_where_it_can_t_be_read_is_told(request: pytest.FixtureRequest) -> None:
    item = request.node
    assert kinds.hidden(item) == []
    item.add_marker("containers")
    assert kinds.hidden(item) == ["containers"]

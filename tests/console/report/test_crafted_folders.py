"""Folders that somebody has crafted, or a disk has eaten into: each is shown as far as it is sound."""

from __future__ import annotations

from pathlib import Path

import pytest

from motley.console.replay import timeline
from motley.console.report import digest
from tests.console.report.crafted import check

FOUND = (105_783,)  # by `make fuzz-after-run`: a decision that predicts a step of next to nothing
CASES = 25  # of each part; `make fuzz-after-run` goes through 10,000


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a case sets is of that case."""
    for module, name in ((timeline, "WHOLE"), (timeline, "BEFORE"), (digest, "LEAST")):
        monkeypatch.setattr(module, name, getattr(module, name))


@pytest.mark.parametrize("part", range(8))
def test_whatever_a_folder_holds_it_is_shown_as_far_as_it_is_sound(part: int, tmp_path: Path) -> None:
    for seed in range(part * CASES, (part + 1) * CASES):
        check(seed, tmp_path / str(seed))


@pytest.mark.parametrize("seed", FOUND)
def test_what_was_once_found_holds(seed: int, tmp_path: Path) -> None:
    check(seed, tmp_path)

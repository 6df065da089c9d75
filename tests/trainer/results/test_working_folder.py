"""The working folder of a script with results: a copy of its project, with what it goes on from in its place."""

from __future__ import annotations

import json
import os
from pathlib import Path

from motley.trainer.contract.result_patterns import TIMES
from motley.trainer.results.working_folder import PART, lay_out


def test_it_is_made_once_and_what_was_pushed_stays_as_it_is(tmp_path: Path) -> None:
    project, run = tmp_path / "tree", tmp_path / "run"
    (project / "pkg").mkdir(parents=True)
    run.mkdir()
    (project / "train.py").write_text("one")
    (project / "pkg/data").write_text("d")
    (project / "train.py").chmod(0o555)
    (project / "pkg/data").chmod(0o444)
    (run / PART).mkdir()  # of a start that was broken off
    (run / PART / "half").touch()
    place = lay_out(run, project, "")
    assert sorted(os.path.relpath(p, place) for p in place.rglob("*")) == ["pkg", "pkg/data", "train.py"]
    assert os.access(place / "train.py", os.X_OK)
    (place / "pkg/data").write_text("mine")
    (place / "out").mkdir()
    assert lay_out(run, project, "") == place
    assert ((place / "pkg/data").read_text(), (project / "pkg/data").read_text()) == ("mine", "d")
    assert (place / "out").exists()


def test_what_a_run_goes_on_from_lies_where_it_was(tmp_path: Path) -> None:
    project, run, before = tmp_path / "tree", tmp_path / "run", tmp_path / "before"
    for folder in (project / "out", run, before / "out/deep"):
        folder.mkdir(parents=True)
    (project / "out/old").write_text("pushed")
    (before / "out/old").write_text("newer")
    (before / "out/deep/last.pt").write_text("2")
    place = lay_out(run, project, str(before))
    assert ((place / "out/old").read_text(), (place / "out/deep/last.pt").read_text()) == ("newer", "2")
    (place / "out/old").write_text("gone on")
    assert (before / "out/old").read_text() == "newer"


def test_what_was_pushed_to_be_read_only_can_be_written_and_has_its_own_times(tmp_path: Path) -> None:
    project, run, before = tmp_path / "tree", tmp_path / "run", tmp_path / "before"
    for folder in (project, run, before / "out"):
        folder.mkdir(parents=True)
    times = {"out/newest": 3_000_000_000_123_456_789, "out/old": 1_000_000_000_000_000_001, "gone": 1, "../x": "no"}
    for name in ("newest", "old"):
        (before / "out" / name).touch(mode=0o444)
        (before / "out" / name).chmod(0o444)
    (before / TIMES).write_text(json.dumps(times))
    place = lay_out(run, project, str(before))
    assert {path.stat().st_mode & 0o777 for path in (place / "out").iterdir()} == {0o644}
    assert max((place / "out").iterdir(), key=lambda path: path.stat().st_mtime_ns).name == "newest"
    assert (place / "out/old").stat().st_mtime_ns == times["out/old"]
    assert not (place / TIMES).exists()
    assert (before / TIMES).exists()


def test_a_host_that_came_later_has_nothing_to_go_on_from_and_starts_all_the_same(tmp_path: Path) -> None:
    project, run = tmp_path / "tree", tmp_path / "run"
    for folder in (project, run):
        folder.mkdir()
    (project / "train.py").touch()
    assert [path.name for path in lay_out(run, project, str(tmp_path / "not there")).iterdir()] == ["train.py"]

"""What is written to a machine with control groups of version 2; the rest of tests/lab runs on those that are here."""

from __future__ import annotations

from pathlib import Path

from tests.lab.cgroup import Cgroup, Trees


def test_a_quota_of_version_2_is_a_share_of_each_20_ms(tmp_path: Path) -> None:
    group = Cgroup("box1", Trees(cpu=tmp_path, freezer=tmp_path, version=2))
    (tmp_path / "box1").mkdir()
    group.set_cores(0.2)
    assert (tmp_path / "box1" / "cpu.max").read_text() == "4000 20000"
    group.set_cores(None)
    assert (tmp_path / "box1" / "cpu.max").read_text() == "max 20000"
    assert group.join_command().count("echo") == 1

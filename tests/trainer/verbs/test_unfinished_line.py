"""The last line of an output that has no end yet: told as it changes, and that it is gone."""

from __future__ import annotations

from pathlib import Path

from motley.trainer.verbs.unfinished_line import MOST_CHARS, UnfinishedLine

NAME = "rank_0.out"


def test_a_progress_bar_is_told_in_its_newest_state_and_once(tmp_path: Path) -> None:
    path, offsets, unfinished = tmp_path / NAME, {NAME: 6}, UnfinishedLine()
    path.write_bytes(b"begun\n\r 40%\r 50%\r")
    assert unfinished.news(tmp_path, [NAME], offsets) == {NAME: " 50%"}
    assert unfinished.news(tmp_path, [NAME], offsets) == {}
    with path.open("ab") as file:
        file.write(b" 60%\r")
    assert unfinished.news(tmp_path, [NAME], offsets) == {NAME: " 60%"}
    with path.open("ab") as file:
        file.write(b"done\n")
    assert unfinished.news(tmp_path, [NAME], {NAME: path.stat().st_size}) == {NAME: ""}
    assert unfinished.news(tmp_path, [NAME], {NAME: path.stat().st_size}) == {}


def test_a_bar_that_is_redrawn_below_a_line_is_told_again(tmp_path: Path) -> None:
    path, unfinished = tmp_path / NAME, UnfinishedLine()
    path.write_bytes(b"\r 50%")
    assert unfinished.news(tmp_path, [NAME], {}) == {NAME: " 50%"}
    path.write_bytes(b"\r 50%\nsaved\n\r 50%")
    assert unfinished.news(tmp_path, [NAME], {NAME: 11}) == {NAME: " 50%"}


def test_what_has_ended_since_the_whole_lines_were_read_is_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"one\ntwo\nthr")
    assert UnfinishedLine().news(tmp_path, [NAME], {NAME: 4}) == {NAME: "thr"}
    (tmp_path / NAME).write_bytes(b"one\ntwo\n")
    assert UnfinishedLine().news(tmp_path, [NAME], {NAME: 4}) == {}


def test_a_line_without_end_has_its_bounds_and_a_file_that_is_gone_none(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes("é".encode() * 100_000 + b"!")
    (said,) = UnfinishedLine().news(tmp_path, [NAME, "rank_1.out"], {}).values()
    assert len(said) == MOST_CHARS
    assert said.endswith("é!")
    assert "\ufffd" not in said

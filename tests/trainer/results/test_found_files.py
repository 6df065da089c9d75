"""The files that patterns name, where a script writes: what is left, and why."""

from __future__ import annotations

import os
from pathlib import Path

from motley.trainer.contract.result_patterns import Patterns
from motley.trainer.results.found_files import find


def made(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path)


def test_both_folders_are_looked_at_and_what_is_motley_s_own_is_left(tmp_path: Path) -> None:
    made(
        tmp_path,
        "work/out/a",
        "work/out/deep/b",
        "work/src/c",
        "last.pt",
        "out/d",
        "state.json",
        "rank_0.jsonl",
        "last_words.jsonl",
        "requeued.json",
        "x.json",
    )
    look = find(tmp_path, Patterns(["out/**", "*.pt", "*.json", "*.jsonl"]))
    assert {path: os.path.relpath(file.place, tmp_path) for path, file in look.files.items()} == {
        "out/a": "work/out/a",
        "out/deep/b": "work/out/deep/b",
        "last.pt": "last.pt",
        "out/d": "out/d",
        "x.json": "x.json",
    }
    assert set(look.left) == {"state.json", "rank_0.jsonl", "last_words.jsonl", "requeued.json"}
    assert "Motley's own" in look.left["state.json"]


def test_a_folder_called_work_by_a_pattern_is_the_script_s_own_not_where_it_works(tmp_path: Path) -> None:
    made(tmp_path, "work/work/a", "work/out/b")
    assert set(find(tmp_path, Patterns(["work/**"])).files) == {"work/a"}


def test_of_a_path_in_both_folders_the_one_that_was_changed_last_is_taken(tmp_path: Path) -> None:
    made(tmp_path, "work/last.pt", "last.pt")
    for path, seconds in (("work/last.pt", 4e9), ("last.pt", 5e9)):
        os.utime(tmp_path / path, (seconds, seconds))
    assert find(tmp_path, Patterns(["*.pt"])).files["last.pt"].place == str(tmp_path / "last.pt")
    os.utime(tmp_path / "work/last.pt", (6e9, 6e9))
    assert find(tmp_path, Patterns(["*.pt"])).files["last.pt"].place == str(tmp_path / "work/last.pt")


def test_checkpoints_of_a_session_are_motley_s_own(tmp_path: Path) -> None:
    made(tmp_path, "checkpoints/step_6.pt", "work/checkpoints/mine.pt")
    patterns = Patterns(["checkpoints/**"])
    assert set(find(tmp_path, patterns).files) == {"checkpoints/step_6.pt", "checkpoints/mine.pt"}
    made(tmp_path, "session.json")
    assert set(find(tmp_path, patterns).files) == {"checkpoints/mine.pt"}


def test_links_lead_to_files_inside_or_are_left(tmp_path: Path) -> None:
    made(tmp_path, "work/out/step_2.pt", "secret")
    out = tmp_path / "work/out"
    (out / "last.pt").symlink_to("step_2.pt")
    (out / "out_of_it").symlink_to("/etc/hostname")
    (out / "above").symlink_to("../../secret")
    (out / "gone").symlink_to("nowhere")
    (out / "folder").symlink_to("/etc")
    (out / "itself").symlink_to(".")
    look = find(tmp_path, Patterns(["out/**"]))
    assert {path: Path(file.place).name for path, file in look.files.items()} == {
        "out/step_2.pt": "step_2.pt", "out/last.pt": "step_2.pt",
    }  # fmt: skip
    assert look.left == {
        "out/out_of_it": "it is a link that leads out, to /etc/hostname",
        "out/above": "it is a link that leads out, to ../../secret",
        "out/folder": "it is a link that leads out, to /etc",
    }


def test_what_is_no_file_of_bytes_or_has_an_odd_name_is_left(tmp_path: Path) -> None:
    made(tmp_path, "work/out/fine", "work/out/a\nb", "work/out/" + "x" * 245)
    os.mkfifo(tmp_path / "work/out/pipe")
    (tmp_path / "work/out").joinpath(os.fsdecode(b"\xff")).touch()
    look = find(tmp_path, Patterns(["out/**"]))
    assert set(look.files) == {"out/fine"}
    assert look.left["out/pipe"] == "it is no file of bytes"
    assert len([why for why in look.left.values() if "not every disk" in why]) == 3


def test_so_many_files_and_no_more(tmp_path: Path) -> None:
    made(tmp_path, *(f"work/out/{n}" for n in range(5)))
    look = find(tmp_path, Patterns(["out/**"]), most=3)
    assert (len(look.files), look.left) == (3, {"": "there are more than 3 files: those beyond are left there"})

"""Small files after a power cut, at every moment of their writing: as they were before, or whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from motley.trainer.bootstrap import durable
from motley.trainer.contract.spec import BalanceOptions, DataOptions, ElasticOptions, Member, RunOptions, Spec
from motley.trainer.host.lock_and_spec import keep_spec, take_lock
from motley.trainer.host.paths import read_json, write_json
from tests.support.power_cut import Disk

MEMBERS = (Member(member=0, host="box0", local_rank=0, device="cpu"),)
SPEC = Spec(
    run="night", host="box0", token="t", leader="box0", leader_address="127.0.0.1", port=29500, members=MEMBERS,
    options=RunOptions(), balance=BalanceOptions(), elastic=ElasticOptions(), data=DataOptions(), env={},
)  # fmt: skip


def cuts(
    tmp_path: Path, act: Callable[[Path], object], before: Callable[[Path], object] = lambda _: None
) -> list[Path]:
    """What each power cut during `act(folder)` may leave of the folder."""
    folder = tmp_path / "folder"
    folder.mkdir()
    before(folder)
    with Disk(folder) as disk:
        act(folder)
    return list(disk.after_each_cut(tmp_path / "cuts"))


def test_the_power_cuts_of_these_tests_lose_what_was_not_synced(tmp_path: Path) -> None:
    def carelessly(folder: Path) -> None:
        (folder / "new").write_bytes(b"2")
        os.replace(folder / "new", folder / "file")

    found = cuts(tmp_path, carelessly, lambda folder: (folder / "file").write_bytes(b"1"))
    assert {(state / "file").read_bytes() for state in found} == {b"1", b""}


def test_a_file_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    found = cuts(
        tmp_path,
        lambda folder: write_json(folder / "lead.json", {"term": 2}),
        lambda folder: write_json(folder / "lead.json", {"term": 1}),
    )
    assert len(found) > 2
    assert {read_json(state / "lead.json")["term"] for state in found} == {1, 2}
    assert read_json(tmp_path / "folder/lead.json") == {"term": 2}
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["lead.json"]
    assert (tmp_path / "folder/lead.json").stat().st_mode & 0o777 == 0o600


def test_what_has_been_written_is_there_for_good(tmp_path: Path) -> None:
    def act(folder: Path) -> None:
        durable.make_folder(folder / "runs/night/box0", 0o700)
        durable.write(folder / "runs/night/box0/state.json", b"{}")

    assert (cuts(tmp_path, act)[-1] / "runs/night/box0/state.json").read_bytes() == b"{}"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "file").mkdir()  # which no file can be renamed over
    with pytest.raises(OSError, match="directory"):
        durable.write(tmp_path / "box" / "file", b"x")
    assert [path.name for path in (tmp_path / "box").iterdir()] == ["file"]


def test_a_spec_is_whole_or_its_run_has_never_been_there(tmp_path: Path) -> None:
    states = cuts(tmp_path, lambda folder: begin(folder / "runs/night/box0"))
    left = [state / "runs/night/box0" for state in states]
    assert any((folder / "spec.json").exists() for folder in left)
    for folder in left:
        if (folder / "spec.json").exists():
            with pytest.raises(FileExistsError, match="choose another name"):
                begin(folder)
        else:
            begin(folder)
        assert Spec.from_json((folder / "spec.json").read_bytes()) == SPEC
    assert (left[-1] / "spec.json").exists()


@pytest.mark.parametrize("torn", [b"", b'{"run": "nig', b"\0" * 100])
def test_a_torn_spec_does_not_block_the_name(tmp_path: Path, torn: bytes) -> None:
    (tmp_path / "spec.json").write_bytes(torn)
    begin(tmp_path)
    assert Spec.from_json((tmp_path / "spec.json").read_bytes()) == SPEC
    assert (tmp_path / "spec.json").stat().st_mode & 0o777 == 0o600


def begin(folder: Path) -> None:
    lock = take_lock(folder)
    try:
        keep_spec(folder, SPEC)
    finally:
        os.close(lock)

"""A large folder arrives whole and checked; only what is lacking is sent, and on from where it broke off."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from motley.remote.errors import CommandFailed, HostError
from motley.remote.feed import Progress
from motley.remote.hosts.reach import Connection
from motley.remote.provision.local_folder import Folder
from motley.remote.provision.push_folder import push_folder
from tests.remote.stage import HANGS_S

LARGE = os.urandom(5_000_000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, content in {
        "train/large.bin": LARGE, "train/a b.txt": b"one\n", "empty": b"", ".hidden": b"x", "test/é.txt": b"two\n",
    }.items():  # fmt: skip
        file = tmp_path / "data" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return tmp_path / "data"


def there(home: Path, folder: Folder) -> Path:
    (box,) = (home / ".motley" / "demo").glob("demo-*/box")
    return box / folder.place


async def push(connection: Connection, folder: Folder, seen: list[Progress] | None = None) -> int:
    sending = push_folder(connection, "python3", folder, "the data", (seen if seen is not None else []).append)
    return await asyncio.wait_for(sending, HANGS_S)


def content(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(p.relative_to(root)): p.read_bytes() for p in files if not p.name.startswith(".")}


async def test_all_of_it_arrives_once_then_only_what_changed(connection: Connection, root: Path, home: Path) -> None:
    folder = Folder.of(root)
    seen: list[Progress] = []
    assert await push(connection, folder, seen) == folder.bytes == len(LARGE) + 8
    assert content(there(home, folder)) == content(root)
    fractions = [record.fraction for record in seen if record.fraction is not None]
    assert fractions == sorted(fractions)
    assert len(fractions) > 3
    assert fractions[-1] == 1.0
    assert await push(connection, folder, seen) == 0
    assert "has the data already" in seen[-1].text
    (root / "train/a b.txt").write_text("three\n")
    changed = Folder.of(root)
    assert changed.hash != folder.hash
    assert await push(connection, changed) == 6
    assert content(there(home, changed)) == content(root)
    assert (there(home, folder) / "train/a b.txt").read_bytes() == b"one\n"


async def test_what_was_changed_there_is_found_and_sent_again(connection: Connection, root: Path, home: Path) -> None:
    folder = Folder.of(root)
    await push(connection, folder)
    damaged = there(home, folder) / "train/a b.txt"
    damaged.chmod(0o644)
    damaged.write_bytes(b"ONE\n")  # of the same size
    assert await push(connection, folder) == 4
    assert content(there(home, folder)) == content(root)


async def test_an_attempt_that_breaks_off_is_not_complete_and_the_next_goes_on_from_there(
    connection: Connection, root: Path, home: Path
) -> None:
    folder = Folder.of(root)

    def emit(record: Progress) -> None:
        if (record.fraction or 0.0) > 0.5:
            raise RuntimeError("the console ends here")

    with pytest.raises(RuntimeError, match="ends here"):
        await push_folder(connection, "python3", folder, "the data", emit)
    assert not (there(home, folder).parent / "listing.json").exists()
    assert not (there(home, folder) / "train/large.bin").exists()
    assert 0 < await push(connection, folder) < folder.bytes
    assert content(there(home, folder)) == content(root)


async def test_a_file_that_changes_while_it_is_sent_is_refused(connection: Connection, root: Path, home: Path) -> None:
    folder = Folder.of(root)
    (root / "train/large.bin").write_bytes(LARGE[:-1] + b"x")
    with pytest.raises(CommandFailed, match=r"large.bin came as another file than announced"):
        await push(connection, folder)
    (root / "train/large.bin").unlink()
    with pytest.raises(HostError, match="can't be read here"):
        await push(connection, folder)
    (root / "train/large.bin").write_bytes(LARGE)
    await push(connection, folder)
    assert content(there(home, folder)) == content(root)


def test_a_file_is_hashed_again_only_when_it_has_changed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Folder.of(root)
    read: list[str] = []

    def hashed(path: Path) -> str:
        read.append(path.name)
        return "0" * 64

    monkeypatch.setattr("motley.remote.provision.local_folder.sha256_of", hashed)
    assert Folder.of(root) == first
    assert read == []
    (root / "empty").write_text("no more")
    assert Folder.of(root).hash != first.hash
    assert read == ["empty"]


def test_more_files_than_a_host_is_asked_about_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motley.remote.provision.local_folder.MOST_FILES", 3)
    with pytest.raises(ValueError, match="more than 3 files"):
        Folder.of(root)


async def test_two_that_send_the_same_at_once_take_turns(connection: Connection, root: Path, home: Path) -> None:
    folder = Folder.of(root)
    assert sorted(await asyncio.gather(push(connection, folder), push(connection, folder))) == [0, folder.bytes]
    assert content(there(home, folder)) == content(root)

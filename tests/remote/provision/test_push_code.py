"""The trainer arrives whole or not at all, once, under a name that says what is in it."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Container
from pathlib import Path

import pytest

from motley.remote.errors import CommandFailed
from motley.remote.feed import Progress
from motley.remote.hosts.reach import Connection
from motley.remote.provision.push_code import File, Tree, push
from motley.trainer.bootstrap import unpack_tree
from motley.trainer.bootstrap.code_trees import STAMP, whole
from tests.support.power_cut import Disk


@pytest.fixture
def box(home: Path) -> Path:
    """Where the host keeps its trees."""
    folders = list((home / ".motley" / "demo").glob("demo-*/box"))
    return folders[0] / ".motley" / "code"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, text in {
        "motley/__init__.py": "",
        "motley/console/__init__.py": "",
        "motley/trainer/__init__.py": "",
        "motley/trainer/loop.py": "print('hello')\n",
        "motley/trainer/data/digits.bin": "\x00\x01",
        "motley/profiles/__init__.py": "",
        "motley/trainer/.hidden": "x",
        "motley/trainer/__pycache__/loop.pyc": "x",
    }.items():
        file = tmp_path / "source" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "source/motley/trainer/tool").write_text("#!/bin/sh\n")
    (tmp_path / "source/motley/trainer/tool").chmod(0o775)
    return tmp_path / "source"


def test_what_belongs_to_a_tree(root: Path) -> None:
    tree = Tree.of(root)
    assert [file.path for file in tree.files] == [
        "motley/__init__.py",
        "motley/profiles/__init__.py",
        "motley/trainer/__init__.py",
        "motley/trainer/data/digits.bin",
        "motley/trainer/loop.py",
        "motley/trainer/tool",
    ]
    assert tree.folder == f".motley/code/{tree.hash}"


def test_the_hash_follows_content_name_and_mode_and_nothing_else(root: Path) -> None:
    first = Tree.of(root).hash
    os.utime(root / "motley/trainer/loop.py", (0, 0))
    (root / "motley/trainer/__pycache__/other.pyc").write_text("y")
    (root / "motley/trainer/loop.py").chmod(0o600)
    assert Tree.of(root).hash == first
    seen = {first}
    (root / "motley/trainer/loop.py").write_text("print('bye')\n")
    seen.add(Tree.of(root).hash)
    (root / "motley/trainer/loop.py").chmod(0o700)
    seen.add(Tree.of(root).hash)
    (root / "motley/trainer/loop.py").rename(root / "motley/trainer/step.py")
    seen.add(Tree.of(root).hash)
    assert len(seen) == 4


def test_the_installed_trainer_is_found_without_importing_torch() -> None:
    code = (
        "import sys; from motley.remote.provision.push_code import Tree\n"
        "print(len(Tree.installed().files), 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=Path.cwd())
    count, has_torch = out.stdout.split()
    assert int(count) > 5
    assert has_torch == "False"
    assert any(file.path == "motley/trainer/contract/wire.py" for file in Tree.installed().files)


async def test_a_tree_arrives_as_it_is_and_read_only(connection: Connection, root: Path, box: Path) -> None:
    tree = Tree.of(root)
    seen: list[Progress] = []
    result = await push(connection, sys.executable, tree, seen.append)
    assert result.sent
    assert result.bytes == len(tree.pack())
    for file in tree.files:
        there = box / tree.hash / file.path
        assert there.read_bytes() == file.content
        assert there.stat().st_mode & 0o777 == (0o555 if file.executable else 0o444)
    assert [path.name for path in box.iterdir()] == [tree.hash]
    assert (seen[-1].host, seen[-1].stage, seen[-1].done, seen[-1].failed) == ("box", "push", True, False)


async def test_nothing_is_sent_twice(connection: Connection, root: Path) -> None:
    tree = Tree.of(root)
    assert (await push(connection, sys.executable, tree)).sent
    again = await push(connection, "no-such-python", tree)
    assert (again.sent, again.bytes) == (False, 0)
    known = await push(connection, "no-such-python", tree, there=(tree.hash,))
    assert not known.sent


async def test_what_a_power_cut_has_damaged_is_mended_once_the_machine_is_started_again(
    connection: Connection, root: Path, box: Path
) -> None:
    tree = Tree.of(root)
    await push(connection, sys.executable, tree)
    there = box / tree.hash
    (there / "results.txt").write_text("what a script has written")
    damage(there)
    assert not (await push(connection, "no-such-python", tree)).sent  # once a start is enough
    boot_again(there)
    (there / "motley/trainer/__pycache__").mkdir()
    (there / "motley/trainer/__pycache__/loop.cpython-313.pyc").write_bytes(b"\0" * 100)
    assert (await push(connection, sys.executable, tree)).sent
    for file in tree.files:
        assert (there / file.path).read_bytes() == file.content
        assert (there / file.path).stat().st_mode & 0o777 == (0o555 if file.executable else 0o444)
    assert (there / "results.txt").read_text() == "what a script has written"
    assert not (there / "motley/trainer/__pycache__").exists()
    assert [path.name for path in box.iterdir()] == [tree.hash]
    assert not (await push(connection, "no-such-python", tree)).sent


async def test_what_is_right_is_not_sent_again_to_a_machine_that_was_started_anew(
    connection: Connection, root: Path, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("motley.remote.provision.push_code.ASK_FROM", 1000)
    (root / "motley/trainer/large").write_bytes(os.urandom(200_000))
    tree = Tree.of(root)
    await push(connection, sys.executable, tree)
    boot_again(box / tree.hash)
    again = await push(connection, sys.executable, tree)
    assert (again.sent, again.bytes < 1000) == (False, True)
    os.truncate(box / tree.hash / "motley/trainer/large", 0)
    boot_again(box / tree.hash)
    again = await push(connection, sys.executable, tree)
    assert (again.sent, 200_000 < again.bytes < 201_000) == (True, True)


def test_a_tree_is_whole_after_a_power_cut_or_not_there(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, home = Tree.of(root), tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr(unpack_tree, "CODE", str(home / "code"))
    with Disk(home) as disk:
        assert unpack_tree.store(tree.hash, {}, gzip.decompress(tree.pack()))
    states = list(disk.after_each_cut(tmp_path / "cut"))
    there = [state / "code" / tree.hash for state in states if (state / "code" / tree.hash).is_dir()]
    assert there
    assert len(there) < len(states)
    for folder in there:
        assert {file.path: (folder / file.path).read_bytes() for file in tree.files} == {
            file.path: file.content for file in tree.files
        }
        assert whole(str(folder))


def damage(there: Path) -> None:
    """What a power cut soon after a push may leave, on a disk that did not wait."""
    for path in ("motley/trainer/loop.py", "motley/trainer/data/digits.bin"):
        (there / path).chmod(0o600)
        os.truncate(there / path, 0)
    (there / "motley/trainer/tool").unlink()


def boot_again(there: Path) -> None:
    """As if the machine had been started since: this one can't be."""
    (there / STAMP).write_text("the boot before\n")


async def test_of_a_large_tree_only_what_has_changed_is_sent(
    connection: Connection, root: Path, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("motley.remote.provision.push_code.ASK_FROM", 1000)
    (root / "motley/trainer/large").write_bytes(os.urandom(200_000))
    (root / "motley/trainer/other").write_bytes(os.urandom(100_000))
    first = await push(connection, sys.executable, Tree.of(root))
    assert first.bytes > 300_000
    (root / "motley/trainer/loop.py").write_text("print('bye')\n")
    (root / "motley/trainer/new.py").write_text("")
    (root / "motley/trainer/other").chmod(0o755)  # of the same content
    tree, seen = Tree.of(root), list[Progress]()
    second = await push(connection, sys.executable, tree, seen.append, there=(Tree.of(root, ["motley/profiles"]).hash,))
    assert second.sent
    assert second.bytes < 1000
    assert any("2 of 9 files" in record.text for record in seen)
    for file in tree.files:
        there = box / tree.hash / file.path
        assert there.read_bytes() == file.content
        assert there.stat().st_mode & 0o777 == (0o555 if file.executable else 0o444)
    (root / "motley/trainer/large").write_bytes(os.urandom(200_000))  # as large as before
    third = await push(connection, sys.executable, Tree.of(root), there=(tree.hash,))
    assert 200_000 < third.bytes < 201_000


async def test_how_far_it_is_is_told(connection: Connection, root: Path) -> None:
    (root / "motley/trainer/large").write_bytes(os.urandom(1_000_000))
    seen: list[Progress] = []
    await push(connection, sys.executable, Tree.of(root), seen.append)
    fractions = [record.fraction for record in seen if record.fraction is not None]
    assert len(fractions) > 5
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


async def test_two_consoles_push_at_once(connection: Connection, root: Path, box: Path) -> None:
    tree = Tree.of(root)
    results = await asyncio.gather(*(push(connection, sys.executable, tree, there=()) for _ in range(4)))
    assert sum(result.sent for result in results) == 1
    assert [path.name for path in box.iterdir()] == [tree.hash]


@pytest.mark.parametrize("damage", ["content", "name", "missing", "outside", "cut"])
async def test_a_damaged_tree_leaves_nothing(connection: Connection, root: Path, box: Path, damage: str) -> None:
    tree = Tree.of(root)
    files = list(tree.files)
    if damage == "content":
        files[3] = dataclasses.replace(files[3], content=b"other")
    elif damage == "name":
        files[3] = dataclasses.replace(files[3], path="motley/trainer/l00p.py")
    elif damage == "missing":
        files.pop()
    elif damage == "outside":
        files.append(File(path="../../escaped", executable=False, content=b"x"))
    packed = dataclasses.replace(tree, files=tuple(files))
    if damage == "cut":
        packed = _Cut(hash=tree.hash, files=tree.files)
    with pytest.raises(CommandFailed, match="^box: the trainer could not be stored"):
        await push(connection, sys.executable, packed)
    assert not box.exists() or list(box.iterdir()) == []
    assert not (box.parent.parent / "escaped").exists()


class _Cut(Tree):
    def pack(self, only: Container[str] | None = None) -> bytes:
        return super().pack(only)[:-40]


class _Counted(Tree):
    packed = 0

    def pack(self, only: Container[str] | None = None) -> bytes:
        type(self).packed += 1
        return super().pack(only)


async def test_it_is_packed_once_for_all_hosts(connection: Connection, root: Path) -> None:
    tree = _Counted.of(root)
    sent = await asyncio.gather(*(push(connection, sys.executable, tree, there=()) for _ in range(5)))
    assert [result.sent for result in sent].count(True) == 1
    assert _Counted.packed == 1


async def test_a_full_or_closed_folder_is_named(connection: Connection, root: Path, box: Path) -> None:
    box.parent.mkdir()
    box.write_text("a file where the folder should be")
    with pytest.raises(CommandFailed, match=r"could not be stored in ~/\.motley/code/.*"):
        await push(connection, sys.executable, Tree.of(root))


def test_what_is_sent_is_a_plain_tar(root: Path) -> None:
    tree = Tree.of(root)
    assert tree.pack() == tree.pack()
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(tree.pack()))) as tar:
        assert tar.getnames() == [file.path for file in tree.files]

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
from collections.abc import AsyncIterator, Container
from pathlib import Path

import pytest

from remote.connection import Connection
from remote.errors import CommandFailed
from remote.feed import Progress
from remote.hosts import Hosts
from remote.push import File, Tree, push
from tests.remote.conftest import MakeCluster


@pytest.fixture
async def connection(make_cluster: MakeCluster) -> AsyncIterator[Connection]:
    cluster = make_cluster('[cluster]\nname = "demo"\nconnect = "demo"\n[[hosts]]\nname = "box"\n')
    async with Hosts(cluster) as hosts:
        yield await hosts.get("box")


@pytest.fixture
def box(home: Path) -> Path:
    """Where the host keeps its trees."""
    folders = list((home / ".motley" / "demo").glob("demo-*/box"))
    return folders[0] / ".motley" / "code"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, text in {
        "trainer/__init__.py": "",
        "trainer/loop.py": "print('hello')\n",
        "trainer/data/digits.bin": "\x00\x01",
        "profiles/__init__.py": "",
        "trainer/.hidden": "x",
        "trainer/__pycache__/loop.pyc": "x",
    }.items():
        file = tmp_path / "source" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "source/trainer/tool").write_text("#!/bin/sh\n")
    (tmp_path / "source/trainer/tool").chmod(0o775)
    return tmp_path / "source"


def test_what_belongs_to_a_tree(root: Path) -> None:
    tree = Tree.of(root)
    assert [file.path for file in tree.files] == [
        "profiles/__init__.py",
        "trainer/__init__.py",
        "trainer/data/digits.bin",
        "trainer/loop.py",
        "trainer/tool",
    ]
    assert tree.folder == f".motley/code/{tree.hash}"


def test_the_hash_follows_content_name_and_mode_and_nothing_else(root: Path) -> None:
    first = Tree.of(root).hash
    os.utime(root / "trainer/loop.py", (0, 0))
    (root / "trainer/__pycache__/other.pyc").write_text("y")
    (root / "trainer/loop.py").chmod(0o600)
    assert Tree.of(root).hash == first
    seen = {first}
    (root / "trainer/loop.py").write_text("print('bye')\n")
    seen.add(Tree.of(root).hash)
    (root / "trainer/loop.py").chmod(0o700)
    seen.add(Tree.of(root).hash)
    (root / "trainer/loop.py").rename(root / "trainer/step.py")
    seen.add(Tree.of(root).hash)
    assert len(seen) == 4


def test_the_installed_trainer_is_found_without_importing_torch() -> None:
    code = "import sys; from remote.push import Tree; print(len(Tree.installed().files), 'torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=Path.cwd())
    count, has_torch = out.stdout.split()
    assert int(count) > 5
    assert has_torch == "False"
    assert any(file.path == "trainer/wire.py" for file in Tree.installed().files)


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


async def test_of_a_large_tree_only_what_has_changed_is_sent(
    connection: Connection, root: Path, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remote.push.ASK_FROM", 1000)
    (root / "trainer/large").write_bytes(os.urandom(200_000))
    (root / "trainer/other").write_bytes(os.urandom(100_000))
    first = await push(connection, sys.executable, Tree.of(root))
    assert first.bytes > 300_000
    (root / "trainer/loop.py").write_text("print('bye')\n")
    (root / "trainer/new.py").write_text("")
    (root / "trainer/other").chmod(0o755)  # of the same content
    tree, seen = Tree.of(root), list[Progress]()
    second = await push(connection, sys.executable, tree, seen.append, there=(Tree.of(root, ["profiles"]).hash,))
    assert second.sent
    assert second.bytes < 1000
    assert any("2 of 8 files" in record.text for record in seen)
    for file in tree.files:
        there = box / tree.hash / file.path
        assert there.read_bytes() == file.content
        assert there.stat().st_mode & 0o777 == (0o555 if file.executable else 0o444)
    (root / "trainer/large").write_bytes(os.urandom(200_000))  # as large as before
    third = await push(connection, sys.executable, Tree.of(root), there=(tree.hash,))
    assert 200_000 < third.bytes < 201_000


async def test_how_far_it_is_is_told(connection: Connection, root: Path) -> None:
    (root / "trainer/large").write_bytes(os.urandom(1_000_000))
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
        files[3] = dataclasses.replace(files[3], path="trainer/l00p.py")
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

"""Brings a tree of files to a host, into a folder named by the hash of what is in it: our own code (`PARTS`), and the
user's project (`remote.provision.project`).

`remote.session.session` pushes to every host before it starts a run. The folder never changes, so nothing is sent where
it was found right since that machine was started (`trainer.bootstrap.code_trees`). Otherwise one compressed stream goes
over, is unpacked beside its place, checked and renamed, or used to mend what a power cut has damaged.

    >>> tree = Tree.installed()
    >>> await push(connection, "python3", tree)
    PushResult(sent=True, bytes=96411)
    >>> tree.folder
    '.motley/code/8f5a…'
"""

from __future__ import annotations

import asyncio
import functools
import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import motley
from motley.remote.answers import Answer
from motley.remote.errors import CommandFailed, MotleyError
from motley.remote.feed import Progress
from motley.remote.hosts.reach import Connection
from motley.remote.provision.bootstrap import call
from motley.remote.sanitize import clean_lines
from motley.trainer.bootstrap.code_trees import BOOT, STAMP

PARTS = ("motley/__init__.py", "motley/profiles", "motley/trainer")  # what a host gets of ours
HASH_DIGITS = 24
PUSH_S = 120.0  # on a slow line
SLOWEST = 100_000  # bytes/s of such a line, for what is large
ASK_FROM = 2**20  # bytes: for less, the host is not asked which files it has
ASK_S = 60.0
_PACKING = threading.Lock()
STEP = 0.05  # of the whole, between two words of progress


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    path: str  # relative: "motley/trainer/training/loop.py"
    executable: bool
    content: bytes

    @property
    def mode(self) -> int:
        return 0o755 if self.executable else 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The files as they were when it was made, in the order of their paths."""

    hash: str
    files: tuple[File, ...]
    what: str = "the trainer"  # for people

    @classmethod
    def of(cls, root: Path, parts: Sequence[str] = PARTS) -> Tree:
        """The files and folders `parts` under `root`. Hidden files, `__pycache__` and links to folders stay behind.

        A part itself may be a link: in a checkout the packages of `motley/` are.
        """
        return cls.from_files(file for part in parts for file in _files(root / part, part))

    @classmethod
    def installed(cls) -> Tree:
        """The code this process runs, of a checkout or of a wheel."""
        return cls.of(Path(motley.__file__).parents[1])

    @classmethod
    def from_files(cls, files: Iterable[File], what: str = "the trainer") -> Tree:
        files = sorted(files, key=lambda file: file.path)
        listed = hashlib.sha256()
        for file in files:
            listed.update(f"{file.path} {file.mode:o} {hashlib.sha256(file.content).hexdigest()}\n".encode())
        return cls(hash=listed.hexdigest()[:HASH_DIGITS], files=tuple(files), what=what)

    @property
    def folder(self) -> str:
        """Where it lies on every host, relative to the home folder."""
        return f".motley/code/{self.hash}"

    def pack(self, only: Container[str] | None = None) -> bytes:
        """A gzipped tar, of all files or of `only` these."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for file in self.files:
                if only is not None and file.path not in only:
                    continue
                info = tarfile.TarInfo(file.path)
                info.size = len(file.content)
                info.mode = file.mode
                tar.addfile(info, io.BytesIO(file.content))
        return gzip.compress(buffer.getvalue(), 6, mtime=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PushResult:
    sent: bool
    bytes: int


async def push(
    connection: Connection,
    python: str,
    tree: Tree,
    emit: Callable[[Progress], None] = lambda _: None,
    *,
    there: Collection[str] | None = None,
) -> PushResult:
    """`there`: the hashes the host is known to have (`Probe.code`); without it the host is asked.

    Raises CommandFailed when the host can't store the tree, Unreachable when the connection breaks.
    """
    host = connection.host.name
    if there is None:
        looked = await connection.run(["grep", "-qxFf", BOOT, STAMP], timeout_s=10, cwd=tree.folder)
        there = () if looked.code else (tree.hash,)
    if tree.hash in there:
        emit(Progress(host=host, stage="push", text=f"{tree.what} is there already", fraction=1.0, done=True))
        return PushResult(sent=False, bytes=0)
    try:
        large = sum(len(file.content) for file in tree.files) > ASK_FROM
        kept = await _kept(connection, python, tree) if large else {}
        packed = await asyncio.to_thread(_packed, tree, frozenset({file.path for file in tree.files} - kept.keys()))
        answer = await _send(connection, python, tree, kept, packed, emit)
        if not answer.ok:
            cause = f"{tree.what} could not be stored in ~/{tree.folder}: {answer.text('error')}"
            raise CommandFailed(host, cause, "Make room there and make ~/.motley writable: df -h ~; ls -ld ~/.motley")
    except MotleyError as error:
        emit(Progress(host=host, stage="push", text=str(error), done=True, failed=True))
        raise
    emit(Progress(host=host, stage="push", text=f"{tree.what} is there", fraction=1.0, done=True))
    return PushResult(sent=bool(answer.get("sent")), bytes=len(packed))


@functools.lru_cache(maxsize=1)
def _packed_last(tree: Tree, only: frozenset[str]) -> bytes:
    return tree.pack(only)


def _packed(tree: Tree, only: frozenset[str]) -> bytes:
    """Once for all hosts that lack the same files, which most often are all of them."""
    with _PACKING:
        return _packed_last(tree, only)


Kept = tuple[str, int, int]  # SHA-256 in hex, bytes, mode


async def _kept(connection: Connection, python: str, tree: Tree) -> dict[str, Kept]:
    """The files of the tree that the host has in another one, under the same name."""
    wanted = {
        file.path: (hashlib.sha256(file.content).hexdigest(), len(file.content), file.mode) for file in tree.files
    }
    answer = await call(connection, python, "missing_files", payload=json.dumps(wanted).encode(), timeout_s=ASK_S)
    if not answer.ok:
        return {}
    lacks = set(answer.texts("lacks"))  # made safe, as all that a host says
    return {path: kept for path, kept in wanted.items() if clean_lines(path) not in lacks}


async def _send(
    connection: Connection,
    python: str,
    tree: Tree,
    kept: Mapping[str, Kept],
    packed: bytes,
    emit: Callable[[Progress], None],
) -> Answer:
    """Have it unpacked there, and tell how far that is."""
    size = f"{len(packed) / 1024:.0f} KiB" if len(packed) < 2**20 else f"{len(packed) / 2**20:.1f} MiB"
    parts = f", {len(tree.files) - len(kept)} of {len(tree.files)} files" if kept else ""
    text, told = f"sending {tree.what}, {size}{parts}", 0.0

    def progress(fraction: float) -> None:
        nonlocal told
        if fraction - told >= STEP:
            told = fraction
            emit(Progress(host=connection.host.name, stage="push", text=text, fraction=min(fraction, 1.0)))

    emit(Progress(host=connection.host.name, stage="push", text=text))
    payload = json.dumps(kept).encode() + b"\n" + packed
    return await call(
        connection, python, "unpack_tree", [tree.hash], payload=payload, timeout_s=PUSH_S + len(payload) / SLOWEST,
        sent=lambda count: progress(count / len(payload)),
    )  # fmt: skip


def _files(path: Path, name: str) -> list[File]:
    """The file at `path`, or all below it, as `name` and what follows."""
    if not path.is_dir():
        return [File(path=name, executable=bool(path.stat().st_mode & 0o100), content=path.read_bytes())]
    found = []
    for inner in sorted(path.iterdir()):
        left_behind = inner.name.startswith(".") or inner.name == "__pycache__"
        if not left_behind and (inner.is_file() or (inner.is_dir() and not inner.is_symlink())):
            found += _files(inner, f"{name}/{inner.name}")
    return found

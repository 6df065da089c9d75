"""A folder of this machine as hosts are to have it: its files with their sizes and hashes, and one hash for the whole.

`remote.provision.push_folder` sends it. A file is read again only when its size or its time of change is another one
than when it was last hashed: what that gave is kept in `~/.motley/hashes/`.

    >>> folder = Folder.of(Path("wheels"))
    >>> folder.hash, folder.bytes
    ('8f5a…', 1843201)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HASH_DIGITS = 24
CHUNK = 2**20
MOST_FILES = 100_000
CACHE = "~/.motley/hashes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    path: str  # relative, with / between its parts
    size: int
    sha256: str  # in hex


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """The files in the order of their paths, as they were when it was made."""

    root: Path
    files: tuple[Entry, ...]
    hash: str

    @classmethod
    def of(cls, root: Path) -> Folder:
        """Everything in it but hidden files and links to folders.

        Raises OSError when something can't be read, ValueError for a name that not every host can have, and for more
        than `MOST_FILES`.
        """
        cache = (
            Path(CACHE).expanduser() / f"{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:HASH_DIGITS]}.json"
        )
        known = _known(cache)
        kept: dict[str, tuple[int, int, str]] = {}
        paths = sorted(_paths(root))
        if len(paths) > MOST_FILES:
            raise ValueError(f"it holds more than {MOST_FILES:,} files; pack them into fewer ones")
        for path in paths:
            stat = (root / path).stat()
            before = known.get(path)
            same = before is not None and before[:2] == (stat.st_size, stat.st_mtime_ns)
            digest = before[2] if before is not None and same else sha256_of(root / path)
            kept[path] = (stat.st_size, stat.st_mtime_ns, digest)
        if kept != known:
            _keep(cache, kept)
        files = tuple(Entry(path=path, size=size, sha256=digest) for path, (size, _, digest) in kept.items())
        listed = "".join(f"{file.path} {file.size} {file.sha256}\n" for file in files)
        return cls(root=root, files=files, hash=hashlib.sha256(listed.encode()).hexdigest()[:HASH_DIGITS])

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def place(self) -> str:
        """Where its files lie on every host, relative to the home folder."""
        return f".motley/data/{self.hash}/files"


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _paths(root: Path, below: str = "") -> Iterator[str]:
    for entry in list(os.scandir(root / below)):  # read to its end, which closes it
        if entry.name.startswith("."):
            continue
        if not entry.name.isprintable():  # also what is not UTF-8
            raise ValueError(f"{below + entry.name!r} is no name that every host can have: rename it")
        if entry.is_dir(follow_symlinks=False):
            yield from _paths(root, f"{below}{entry.name}/")
        elif entry.is_file():
            yield below + entry.name


def _known(cache: Path) -> dict[str, tuple[int, int, str]]:
    try:
        table = json.loads(cache.read_bytes())
        return {str(path): (int(size), int(time), str(digest)) for path, (size, time, digest) in table.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _keep(cache: Path, kept: dict[str, tuple[int, int, str]]) -> None:
    """Best effort: without it the files are hashed again."""
    beside = cache.with_name(f".{cache.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside.write_text(json.dumps(kept))
        beside.replace(cache)

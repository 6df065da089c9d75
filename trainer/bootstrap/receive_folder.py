"""A folder comes in on stdin and is kept as `~/.motley/data/<hash>/files/`. Runs on a host: see `trainer.bootstrap`.

First a line of JSON: `{"name": hash, "files": [[path, bytes, sha256], …]}`. The answer says what is lacking, `{"lacks":
[[index, offset], …]}`: the bytes of each of those files from there on follow on stdin, one file after the other. What
came is checked and put in its place; an attempt that breaks off goes on where it was. `listing.json` is written when
all else is safe on the disk.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from typing import Any, BinaryIO

from motley.trainer.bootstrap.durable import sync_disk, sync_folder, write
from motley.trainer.bootstrap.files import OURS, answer

DATA = os.path.join(OURS, "data")
CHUNK = 2**20
PART = ".motley-part"
WAIT_S = 1.0  # between two looks whether another one is done; whoever waits hears of each


def main(_argv: list[str], stdin: BinaryIO) -> None:
    try:
        request = json.loads(stdin.readline())
        folder = os.path.join(DATA, str(request["name"]))
        os.makedirs(folder, mode=0o700, exist_ok=True)
        os.chdir(folder)  # so that nobody cleans it away meanwhile
        _lock(os.open(folder, os.O_RDONLY))
        _bring(folder, request["files"], stdin)
        answer({"ok": True})
    except (OSError, EOFError, ValueError, KeyError) as error:
        answer({"ok": False, "error": f"{type(error).__name__}: {error}"})


def _lock(handle: int) -> None:
    """Another console may be at it, or a host with the same home."""
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            answer({"note": "it is being sent there already"})
            time.sleep(WAIT_S)


def _bring(folder: str, files: list[list[Any]], stdin: BinaryIO) -> None:
    known = _listing(folder)
    there: dict[str, list[Any]] = {}  # path: [bytes, sha256, time of change]
    lacks: list[list[int]] = []
    others: dict[tuple[str, int], str] | None = None
    for index, (path, size, digest) in enumerate(files):
        if path.startswith("/") or ".." in path.split("/"):
            raise ValueError(f"the folder holds {path!r}")
        place = _place(folder, path)
        if not _is_right(place, known.get(path), size, digest):
            others = _others(folder) if others is None else others
            if not _take(others.get((digest, size)), place):
                lacks.append([index, _begun(place, size)])
                continue
        there[path] = [size, digest, os.stat(place).st_mtime_ns]
    needed = sum(files[index][1] - offset for index, offset in lacks)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"{needed >> 20} MiB are lacking, and {free >> 20} MiB are free")
    answer({"lacks": lacks})
    for index, offset in lacks:
        path, size, digest = files[index]
        _receive(_place(folder, path), size, digest, offset, stdin)
        there[path] = [size, digest, os.stat(_place(folder, path)).st_mtime_ns]
    if there != known or lacks:
        sync_disk(folder)
        write(os.path.join(folder, "listing.json"), json.dumps(there).encode(), 0o644)
        sync_folder(DATA)
    os.utime(folder)  # `motley clean` goes by it


def _place(folder: str, path: str) -> str:
    return os.path.join(folder, "files", *path.split("/"))


def _listing(folder: str) -> dict[str, list[Any]]:
    """What is known to be there, and right; nothing when it was never completed."""
    try:
        with open(os.path.join(folder, "listing.json")) as file:
            table = json.load(file)
            return table if isinstance(table, dict) else {}
    except (OSError, ValueError):
        return {}


def _is_right(place: str, known: list[Any] | None, size: int, digest: str) -> bool:
    """Size and hash are those asked for. It is read unless nobody has changed it since it was last looked at."""
    try:
        stat = os.stat(place)
    except OSError:
        return False
    if stat.st_size != size:
        return False
    return known == [size, digest, stat.st_mtime_ns] or _digest(place).hexdigest() == digest


def _others(folder: str) -> dict[tuple[str, int], str]:
    """The files of the other folders that nobody has changed, by hash and size."""
    found = {}
    for name in os.listdir(DATA):
        other = os.path.join(DATA, name)
        if other != folder:
            for path, (size, digest, changed) in _listing(other).items():
                place = _place(other, path)
                if os.path.isfile(place) and (os.stat(place).st_size, os.stat(place).st_mtime_ns) == (size, changed):
                    found[digest, size] = place
    return found


def _take(source: str | None, place: str) -> bool:
    """One file in two folders: it never changes, so a link will do."""
    if source is None:
        return False
    os.makedirs(os.path.dirname(place), exist_ok=True)
    part = place + PART
    if os.path.lexists(part):
        os.unlink(part)
    try:
        os.link(source, part)
    except OSError:
        shutil.copy2(source, part)
    os.replace(part, place)
    return True


def _begun(place: str, size: int) -> int:
    """How much of the file an earlier attempt has brought."""
    try:
        begun = os.path.getsize(place + PART)
    except OSError:
        return 0
    return begun if begun <= size else 0


def _receive(place: str, size: int, digest: str, offset: int, stdin: BinaryIO) -> None:
    os.makedirs(os.path.dirname(place), exist_ok=True)
    part = place + PART
    came = _digest(part) if offset else hashlib.sha256()
    with open(part, "r+b" if offset else "wb") as file:
        file.seek(offset)
        left = size - offset
        while left:
            chunk = stdin.read(min(CHUNK, left))
            if not chunk:
                raise EOFError("the connection ended before all was here")
            file.write(chunk)
            came.update(chunk)
            left -= len(chunk)
    if came.hexdigest() != digest:
        os.unlink(part)
        raise ValueError(f"{os.path.basename(place)} came as another file than announced: was it changed meanwhile?")
    os.chmod(part, 0o444)
    os.replace(part, place)


def _digest(place: str) -> Any:
    digest = hashlib.sha256()
    with open(place, "rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)
    return digest

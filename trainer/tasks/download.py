"""Official archives, fetched once per host: checksum verified, renamed into place when whole.

`trainer.tasks.data_location` calls `fetch` when a data set is nowhere on the host. Ranks of one host come here at the
same time: a lock lets one of them download and the others find the file.

    >>> fetch(Archive(name="train.gz", url="https://…/train.gz", md5="8d4f…"), folder, note)
    PosixPath('/home/ada/.motley/data/fashion_mnist/train.gz')
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from motley.trainer.errors import DataError

Note = Callable[[str, "float | None"], None]  # what is being done, and how much of it: 0 to 1, None when not known

_SILENCE_S = 30.0  # no answer, or no more bytes, for so long: given up
_LIMIT_S = 3600.0  # for one archive; so it also bounds how long other ranks wait for the lock
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One file as its authors publish it."""

    name: str
    url: str
    md5: str


def fetch(archive: Archive, folder: Path, note: Note) -> Path:
    """The archive in `folder`, downloaded unless it is there. Raises DataError that says how to do it by hand."""
    path = folder / archive.name
    by_hand = f"Download it by hand, put it on this host as {path}, or name a folder that holds it in [data] path"
    part = folder / f".{archive.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder / ".lock", note):
            if not path.exists():
                try:
                    _download(archive, part, by_hand, note)
                    os.replace(part, path)
                finally:
                    part.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{path}: can't be written ({error.strerror or error})", by_hand) from error
    return path


@contextmanager
def _lock(path: Path, note: Note) -> Iterator[None]:
    """Held by one process of the host at a time; the system lets go of it when that process ends."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(f"waiting for another rank to download {path.parent.name}", None)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(archive: Archive, part: Path, by_hand: str, note: Note) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    with part.open("wb") as file:
        for chunk, fraction in _chunks(archive.url, by_hand):
            file.write(chunk)
            digest.update(chunk)
            note(f"downloading {archive.name}", fraction)
        file.flush()
        os.fsync(file.fileno())
    if digest.hexdigest() != archive.md5:
        cause = f"{archive.url}: expected a file with MD5 {archive.md5}, found {digest.hexdigest()}"
        raise DataError(cause, f"Try again. {by_hand}")


def _chunks(url: str, by_hand: str) -> Iterator[tuple[bytes, float | None]]:
    """The bytes behind a URL, with the fraction there so far."""
    request = urllib.request.Request(url, headers={"User-Agent": "motley"})
    deadline = time.monotonic() + _LIMIT_S
    done = 0
    try:
        with urllib.request.urlopen(request, timeout=_SILENCE_S) as response:
            total = int(response.headers.get("Content-Length") or 0)
            while chunk := response.read(_CHUNK):
                done += len(chunk)
                yield chunk, done / total if total else None
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not whole after {_LIMIT_S:.0f} s")
        if done < total:
            raise ConnectionError(f"ended after {done} of {total} bytes")
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        reason = getattr(error, "reason", None) or error
        raise DataError(f"{url}: can't be downloaded ({reason})", by_hand) from error

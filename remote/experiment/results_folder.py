"""`experiments/<run>/results/`: what scripts wrote, a folder a host, and `latest`, a link to the newest of these.

    >>> folder = ResultsFolder(experiment, "box1")
    >>> folder.have()
    {'out/model.pt': (812, 1700000000123456789)}
    >>> incoming = folder.begin("out/model.pt", 815, 1700000009123456789)
    >>> incoming.write(b"…"); incoming.keep()

A file has the time of its original, so that what is here is known by looking. Names come from a host: only what stays
below the folder is taken.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from motley.trainer.bootstrap import durable
from motley.trainer.contract.result_patterns import TIMES

RESULTS, LATEST = "results", "latest"
RESERVE = 256 * 2**20  # bytes of the disk here that results leave to what else is kept
_LONGEST, _LONGEST_NAME = 1000, 240
_PART = re.compile(r"\..*\.(\d{1,9})-\d+\.part", re.DOTALL)  # `durable.part_of`


class ResultsFolder:
    """Of one host. What the disk refuses is an OSError, a name that can't be one a ValueError."""

    def __init__(self, experiment: Path, host: str) -> None:
        self.host = host
        self.path = experiment / RESULTS / host

    def have(self) -> dict[str, tuple[int, int]]:
        """Size and time, in ns, of each file here."""
        found = {}
        for place, _, names in os.walk(self.path):
            for name in filter(_is_result, names):
                path = os.path.join(place, name)
                with contextlib.suppress(OSError):
                    info = os.lstat(path)
                    found[os.path.relpath(path, self.path)] = (info.st_size, info.st_mtime_ns)
        return found

    def clear(self) -> None:
        """Take away what consoles that are gone have left half done."""
        for place, _, names in os.walk(self.path):
            for name in names:
                part = _PART.fullmatch(name)
                if part is not None and not _lives(int(part[1])):
                    with contextlib.suppress(OSError):
                        os.unlink(os.path.join(place, name))

    def begin(self, path: str, size: int, mtime_ns: int) -> IncomingResult:
        """A file of so many bytes that is about to come."""
        parts = path.split("/")
        odd = not path.isprintable() or any(
            part in ("", ".", "..") or len(part.encode()) > _LONGEST_NAME for part in parts
        )
        if odd or len(path.encode()) > _LONGEST:
            raise ValueError("it has a name that not every disk can have")
        place = self.path.joinpath(*parts)
        self._make_folders(place.parent)
        free = shutil.disk_usage(self.path).free
        if free - size < RESERVE:
            raise OSError(28, f"No space left: it has {size:,} bytes, {max(0, free):,} are free", str(place))
        return IncomingResult(place, mtime_ns)

    def _make_folders(self, folder: Path) -> None:
        """None of them is a link, which could lead elsewhere."""
        folder.mkdir(parents=True, exist_ok=True)
        while folder != self.path.parent:
            if folder.is_symlink():
                raise ValueError(f"{folder} is a link here, and not followed")
            folder = folder.parent

    def point_latest(self) -> None:
        """From now on `latest` leads to this folder."""
        link = self.path.with_name(LATEST)
        if link.is_symlink() and os.readlink(link) == self.host:
            return
        beside = durable.part_of(os.fspath(link))
        os.symlink(self.host, beside)
        os.replace(beside, link)


class IncomingResult:
    """One file, seen in its place once it is whole."""

    def __init__(self, place: Path, mtime_ns: int) -> None:
        self._place = place
        self._mtime_ns = mtime_ns
        self._part = durable.part_of(os.fspath(place))
        self._file = open(self._part, "wb")  # noqa: SIM115 - until `keep` or `close`

    def write(self, content: bytes) -> None:
        self._file.write(content)

    def keep(self) -> None:
        """Put it in its place. A power cut may yet lose it: it is then brought once more, for its size is another."""
        self._file.close()
        os.utime(self._part, ns=(self._mtime_ns, self._mtime_ns))
        os.replace(self._part, self._place)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what can't be flushed is not kept anyway
            self._file.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._part)


def newest(experiment: Path) -> Path | None:
    """The folder of results that a run goes on from; None where there is none."""
    folder = experiment / RESULTS / LATEST
    return folder.resolve() if has_any(folder) else None


def has_any(folder: Path) -> bool:
    return folder.is_dir() and next(_files(folder), None) is not None


def _files(folder: Path) -> Iterator[str]:
    for _, _, names in os.walk(folder):
        yield from filter(_is_result, names)


def _is_result(name: str) -> bool:
    return _PART.fullmatch(name) is None and name != TIMES


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True

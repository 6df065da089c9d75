"""A trained model that comes from a host as a folder of files: `IncomingModel` for a folder.

    incoming = IncomingFolder(Path("night-adapter"), force=False)
    incoming.take(b'{"ok": true, "bytes": 265, "files": [["README.md", 12], …], …}\\n…')

Its files are beside each other: none comes to lie outside of it. It is in its place whole or not at all, unless it is
written over: then file by file, and what an earlier export has left that is not in this one goes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path

from motley.remote.answers import Answer
from motley.remote.errors import UsageError
from motley.remote.experiment.incoming_model import IncomingModel
from motley.trainer.bootstrap import durable
from motley.trainer.contract.exported import MARK, is_plain


class IncomingFolder(IncomingModel):
    """Raises UsageError for a folder that is there and not empty, without `force`; with it, for one that no export
    has written."""

    _files: tuple[tuple[str, int], ...] = ()  # names and sizes
    _at = 0  # the number of the one that is written, and how much of it is missing
    _lacks = 0

    def _check_place(self, file: Path) -> None:
        if self._place.exists() and not self._place.is_dir():
            raise UsageError(f"{file} is a file: name a folder, or end it in .safetensors or .pt")

    def _stays(self) -> None:
        if not self._place.exists() or not any(self._place.iterdir()):
            return
        if not self._force:
            raise UsageError(f"{self._place} is there already: name another folder, or write over it with --force")
        if not (self._place / MARK).is_file():
            raise UsageError(f"{self._place} is none that an export has written, it has no {MARK}: name another folder")

    def _open(self, answer: Answer) -> None:
        files = answer["files"]
        self._files = tuple((str(name), int(size)) for name, size in files if is_plain(name) and int(size) >= 0)
        names = {name for name, _ in self._files}
        if len(names) != len(files) or sum(size for _, size in self._files) != self._left:
            raise ValueError("files that are none, or of another size in all")
        os.mkdir(self._part)
        self._at = -1
        self._next()

    def _write(self, chunk: bytes) -> None:
        while chunk and self._file is not None:
            self._file.write(chunk[: self._lacks])
            chunk, self._lacks = chunk[self._lacks :], self._lacks - min(self._lacks, len(chunk))
            if not self._lacks:
                self._next()

    def _next(self) -> None:
        """Go on with the next file that has something in it."""
        self._end_file()
        while self._at + 1 < len(self._files):
            self._at += 1
            name, self._lacks = self._files[self._at]
            self._file = open(os.path.join(self._part, name), "wb")  # noqa: SIM115 - until it is whole
            if self._lacks:
                return
            self._end_file()

    def _end_file(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def _put(self) -> int:
        durable.sync_folder(self._part)
        if not (self._place / MARK).exists():
            durable.put(self._part, str(self._place))
        else:
            before = _written(self._place / MARK)
            for name, _ in self._files:
                durable.put(os.path.join(self._part, name), str(self._place / name))
            os.rmdir(self._part)
            for name in before - {name for name, _ in self._files}:
                with contextlib.suppress(FileNotFoundError):
                    (self._place / name).unlink()
        return sum(size for _, size in self._files)

    def _drop(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # what can't be flushed is not kept anyway
                self._file.close()
            self._file = None
        shutil.rmtree(self._part, ignore_errors=True)


def _written(mark: Path) -> set[str]:
    """The files of an earlier export; none where that is not known any more."""
    try:
        return {name for name in json.loads(mark.read_bytes())["files"] if is_plain(name)}
    except (OSError, ValueError, KeyError, TypeError):
        return set()

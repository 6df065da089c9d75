"""A trained model that comes from a host into a file of the user's: the first line says what it is, the rest is it.

    incoming = IncomingModel(Path("night.safetensors"), force=False)
    incoming.begin("box1")
    incoming.take(b'{"ok": true, "bytes": 265432, …}\\n…')      # again and again
    incoming.ended("box1", stderr)                              # False: it is whole
    incoming.keep()                                             # in its place, and safe there

What comes is never more than was announced, and nothing is begun that the disk has no room for.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from motley.remote.answers import Answer, answer_of, using
from motley.remote.errors import CommandFailed, NotWritten, UsageError
from motley.remote.hosts.reach import MAX_LINE
from motley.trainer.bootstrap import durable


class IncomingModel:
    """One file; `begin` may be called again when an attempt has failed."""

    def __init__(self, file: Path, *, force: bool) -> None:
        """Raises UsageError for a file that is there already, without `force`, or whose folder is not."""
        self._place = file.absolute()
        self._force = force
        self._part = durable.part_of(str(self._place))
        self._file: IO[bytes] | None = None
        self._host, self._head, self._left = "", b"", 0
        self._answer: Answer | None = None
        self._check_place(file)
        if not self._place.parent.is_dir():
            raise UsageError(f"there is no folder {self._place.parent}")
        self._stays()

    @property
    def notes(self) -> list[str]:
        """What the host could not find out of the model."""
        return self._answer.texts("notes") if self._answer is not None else []

    def begin(self, host: str) -> None:
        self._drop()
        self._host, self._head, self._answer, self._left = host, b"", None, 0

    def take(self, chunk: bytes) -> None:
        """Raises CommandFailed for what is no answer or more than was announced, NotWritten where the disk refuses."""
        if self._answer is None:
            head, newline, chunk = (self._head + chunk).partition(b"\n")
            if not newline:
                self._head = head
                if len(head) > MAX_LINE:
                    raise CommandFailed(self._host, "what `export` answered is no line", "Report this.")
                return
            self._announced(answer_of(self._host, "export", head))
        self._left -= len(chunk)
        if self._left < 0:
            raise CommandFailed(self._host, "`export` sent more than it announced", "Report this.")
        with self._writing():
            self._write(chunk)

    def ended(self, host: str, said: str) -> bool:
        """All has come; `said` is the end of its stderr. Returns whether the checkpoint is damaged.

        Raises CommandFailed with what the host said when it could not do it, or when something is missing.
        """
        answer = self._answer
        if answer is None:
            last = (said.strip().splitlines() or ["nothing"])[-1]
            raise CommandFailed(host, f"`export` did not answer; it said: {last}", "Report this.")
        if not answer.ok:
            if answer.get("damaged") is True:
                return True
            remedy = answer.text("remedy")
            raise CommandFailed(host, answer.text("error") or "it does not say why", f"{remedy}." if remedy else "")
        if self._left:
            cause = f"the file ended {self._left:,} bytes too soon"
            raise CommandFailed(host, cause, "Look whether its memory suffices: dmesg there may say so.")
        return False

    def keep(self) -> tuple[int, dict[str, Any]]:
        """Wait until it is on the disk, and put it in its place: its bytes and its metadata. Raises NotWritten."""
        assert self._answer is not None
        self._stays()
        with self._writing():
            size = self._put()
        metadata = self._answer.get("metadata")
        return size, metadata if isinstance(metadata, dict) else {}

    def close(self) -> None:
        """Of a file that was not kept nothing stays."""
        self._drop()

    def _announced(self, answer: Answer) -> None:
        self._answer = answer
        if not answer.ok:
            return
        with using(self._host, "export"):
            self._left = answer.whole("bytes")
            if self._left <= 0:
                raise ValueError("bytes that are not above 0")
        with self._writing():
            free = shutil.disk_usage(self._place.parent).free
        if self._left > free:
            cause = f"{self._place} takes {_mib(self._left)}, {_mib(free)} are free there"
            raise NotWritten(f"{cause}: make room, or name another disk")
        with self._writing(), using(self._host, "export"):
            self._open(answer)

    def _check_place(self, file: Path) -> None:
        if self._place.is_dir():
            raise UsageError(f"{file} is a folder: name a file in it")

    def _open(self, answer: Answer) -> None:
        """What comes is about to. Raises what `using` takes for an answer that does not fit."""
        del answer
        self._file = open(self._part, "wb")  # noqa: SIM115 - until `keep` or `close`

    def _write(self, chunk: bytes) -> None:
        if self._file is not None:
            self._file.write(chunk)

    def _put(self) -> int:
        """In its place, once it is on the disk. Returns its bytes."""
        assert self._file is not None
        size = self._file.tell()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        durable.put(self._part, str(self._place))
        self._file = None
        return size

    def _stays(self) -> None:
        if self._place.exists() and not self._force:
            raise UsageError(f"{self._place} is there already: name another file, or write over it with --force")

    def _drop(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # what can't be flushed is not kept anyway
                self._file.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._part)
            self._file = None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise NotWritten(f"{self._place} can't be written: {error.strerror or error}") from error


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"

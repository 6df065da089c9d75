"""Files of an experiment on this machine's disk; one that refuses is a RunFailed which says what then.

incoming = Incoming(Path("experiments/night"), "checkpoints/final.pt")
try:
    incoming.write(b"…")       # again and again
    incoming.keep()            # in its place, and safe there
finally:
    incoming.close()           # without `keep` nothing of it stays
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from motley.remote.errors import NotWritten, RunFailed
from motley.trainer.bootstrap import durable


@contextlib.contextmanager
def writing(experiment: Path) -> Iterator[None]:
    """What the disk refuses inside is a RunFailed."""
    try:
        yield
    except OSError as error:
        remedy = f"The run itself goes on; when this is mended, `motley attach {experiment.name}` reads on."
        raise RunFailed(f"{experiment} can't be written: {error.strerror}. {remedy}") from error


def write_file(file: Path, text: str, mode: int = 0o644) -> None:
    """A file that the user has named, whole or not at all; what was there is replaced. Raises NotWritten."""
    try:
        durable.write(file, text.encode(errors="replace"), mode)
    except OSError as error:
        raise NotWritten(f"{file} can't be written: {error.strerror or error}. Name another FILE") from error


def replace_file(file: Path, content: bytes) -> None:
    """A file that is soon written again: whole, without waiting for the disk. Raises OSError."""
    durable.write(file, content, sync=False)


class Incoming:
    """A whole file that comes bit by bit, too large for the memory perhaps. Each step raises RunFailed when the disk
    refuses it."""

    def __init__(self, experiment: Path, name: str) -> None:
        self._experiment = experiment
        self._place = str(experiment / name)
        self._part = durable.part_of(self._place)
        with writing(experiment):
            self._file = open(self._part, "wb")  # noqa: SIM115 - until `close`

    def write(self, content: bytes) -> None:
        with writing(self._experiment):
            self._file.write(content)

    def keep(self) -> None:
        """Wait until it is on the disk, and put it in its place; what was there before is seen until then."""
        with writing(self._experiment):
            self._file.flush()
            os.fsync(self._file.fileno())
            durable.put(self._part, self._place)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what can't be flushed is not kept anyway
            self._file.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._part)

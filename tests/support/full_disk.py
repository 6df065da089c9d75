"""A small disk of its own, to be filled, and a folder made read-only: writing fails as on a real one. Needs root."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.absent import not_here


class Disk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Not a byte is left, and no new file can be made."""
        with self._filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        with contextlib.suppress(OSError):
            for number in range(10_000):
                (self.folder / f"filler.{number}").touch()

    def make_room(self) -> None:
        for path in self.folder.glob("filler*"):
            path.unlink()


@contextlib.contextmanager
def small_disk(folder: Path, *, size: str = "8m", files: int = 2000) -> Iterator[Disk]:
    """Mounted on `folder`. Where that is not allowed, the test is skipped or fails (`tests.absent`)."""
    if os.geteuid() != 0:
        not_here("mounting a small disk needs root")
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={size},nr_inodes={files}"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        not_here(f"no disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing in it can be opened for writing; what is open already still can be written. Mounted over itself."""
    if os.geteuid() != 0:
        not_here("making a disk read-only needs root")
    bound = subprocess.run(["mount", "--bind", str(folder), str(folder)], capture_output=True)
    if bound.returncode != 0:
        not_here(f"no folder can be mounted here: {bound.stderr.decode().strip()}")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)

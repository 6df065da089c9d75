"""Wheels and sdists of this checkout, made without a network."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def build(source: Path, kind: str, into: Path) -> Path:
    """`kind`: "wheel" or "sdist". The file that was made; `into` is to hold nothing else."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(into)],
        cwd=source, check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    (made,) = into.iterdir()
    return made


def by_way_of_sdist(folder: Path) -> Path:
    """A wheel that is made from the sdist, in `folder`."""
    with tarfile.open(build(ROOT, "sdist", folder / "sdist")) as archive:
        archive.extractall(folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    return build(source, "wheel", folder / "wheel")

"""The last line of a checkpoint: the step it was written after, and the SHA-256 of everything before the line's end.

Standard library only: a host lists its checkpoints without importing torch. `trainer.checkpoint` writes and proves.

    >>> listed(Path("checkpoints"))
    {'epoch_3.pt': Trailer(step=18, sha256='5f2b…')}
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SIZE = 108  # bytes
_TRAILER = re.compile(rb"motley checkpoint step=(\d{12}) sha256=([0-9a-f]{64})\n")


@dataclass(frozen=True, slots=True)
class Trailer:
    """What the file says of itself; whether it is true takes reading all of it."""

    step: int
    sha256: str


def beginning(step: int) -> bytes:
    """The trailer up to its digest, which is that of all bytes before it and of these."""
    return b"motley checkpoint step=%012d sha256=" % step


def of(content: bytes) -> Trailer | None:
    """Of a checkpoint's bytes, or of its last ones; None where there is none."""
    match = _TRAILER.fullmatch(content[-SIZE:])
    return None if match is None else Trailer(int(match[1]), match[2].decode())


def read(file: IO[bytes]) -> Trailer | None:
    file.seek(max(0, file.seek(0, os.SEEK_END) - SIZE))
    return of(file.read())


def listed(folder: Path) -> dict[str, Trailer]:
    """The checkpoints of a folder by their names; files without a trailer, or that can't be read, are left out."""
    found = {}
    for path in sorted(folder.glob("*.pt")):
        try:
            with path.open("rb") as file:
                trailer = read(file)
        except OSError:
            continue
        if trailer is not None:
            found[path.name] = trailer
    return found

"""The last line of a checkpoint: which state it is, and the SHA-256 of everything before the line's end.

Of two checkpoints the one of the higher *line* counts, then the one of the later step: a line is how often a console
has named another host the leader, so what the half of a run that was given up trained alone never comes first.

Standard library only: a host lists its checkpoints without importing torch. `trainer.training.checkpoint` writes and
proves.

    >>> listed(Path("checkpoints"))
    {'epoch_3.pt': Trailer(step=18, sha256='5f2b…', line=0)}
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SIZE = 120  # bytes
_TRAILER = re.compile(rb"motley checkpoint step=(\d{12})(?: line=(\d{6}))? sha256=([0-9a-f]{64})\n\Z")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Trailer:
    """What the file says of itself; whether it is true takes reading all of it."""

    step: int
    sha256: str
    line: int = 0

    @property
    def age(self) -> tuple[int, int]:
        """The higher, the newer the state."""
        return self.line, self.step


def is_name(name: object) -> bool:
    """Whether a checkpoint's file may be called so, without its `.pt`.

    >>> is_name("epoch_3"), is_name("my-net"), is_name("../final"), is_name("größe")
    (True, True, False, False)
    """
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def beginning(step: int, line: int) -> bytes:
    """The trailer up to its digest, which is that of all bytes before it and of these."""
    return b"motley checkpoint step=%012d line=%06d sha256=" % (step, line)


def of(content: bytes) -> Trailer | None:
    """Of a checkpoint's bytes, or of its last ones; None where there is none."""
    match = _TRAILER.search(content[-SIZE:])
    return None if match is None else Trailer(int(match[1]), match[3].decode(), int(match[2] or 0))


def read(file: IO[bytes]) -> Trailer | None:
    file.seek(max(0, file.seek(0, os.SEEK_END) - SIZE))
    return of(file.read())


def proved(file: IO[bytes]) -> Trailer | None:
    """What a checkpoint says of itself when the file is as it was written, else None. Reads all of it."""
    said = read(file)
    if said is None:
        return None
    digest, left = hashlib.sha256(), file.tell() - len(said.sha256) - 1
    file.seek(0)
    while chunk := file.read(min(_CHUNK, left)):
        digest.update(chunk)
        left -= len(chunk)
    return said if digest.hexdigest() == said.sha256 else None


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

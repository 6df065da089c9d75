"""The trees of files that are on a host already, and what is in them. Runs there: see `trainer.bootstrap`."""

from __future__ import annotations

import hashlib
import os

from trainer.bootstrap.files import CODE


def trees() -> list[str]:
    """Those that are here and complete, the newest first."""
    names = os.listdir(CODE) if os.path.isdir(CODE) else []
    return sorted((os.path.join(CODE, n) for n in names if n[0] != "."), key=os.path.getmtime, reverse=True)


def elsewhere(places: list[str], path: str, digest: str, size: int) -> bytes | None:
    """What a file of this name and SHA-256 holds, from the first of the trees that has it."""
    for tree in places:
        candidate = os.path.join(tree, *path.split("/"))
        if os.path.isfile(candidate) and os.path.getsize(candidate) == size:
            with open(candidate, "rb") as file:
                content = file.read()
            if hashlib.sha256(content).hexdigest() == digest:
                return content
    return None

"""The trees of files under `~/.motley/code/`: which are there, what is in them, and whether they are as they were sent.

Runs there: see `trainer.bootstrap`.

A power cut may leave files empty, and a tree of that name would be there, and broken, for ever. So the list of its
files lies in it, and their SHA-256; the hash of that list is the tree's name, so the list proves itself. Where all is
right, a second file says so for this start of the machine: who asks next reads that alone. Hosts may share a home, so
it names several. What else has come into the folder (what a script has written there) is not looked at.
"""

from __future__ import annotations

import contextlib
import os

from motley.trainer.bootstrap.files import CODE, text

LISTING = ".motley-files"
STAMP = ".motley-whole"  # boot ids, a line each; remote's `push_code` and `bootstrap` look into it as well
BOOT = "/proc/sys/kernel/random/boot_id"
KEPT = 32  # boot ids


def trees() -> list[str]:
    """Those that are here and complete, the newest first."""
    names = os.listdir(CODE) if os.path.isdir(CODE) else []
    return sorted((os.path.join(CODE, n) for n in names if n[0] != "."), key=os.path.getmtime, reverse=True)


def elsewhere(places: list[str], path: str, digest: str, size: int) -> bytes | None:
    """What a file of this name and SHA-256 holds, from the first of the trees that has it."""
    import hashlib  # only where it is needed: every look at a host loads this file

    for tree in places:
        candidate = os.path.join(tree, *path.split("/"))
        if os.path.isfile(candidate) and os.path.getsize(candidate) == size:
            with open(candidate, "rb") as file:
                content = file.read()
            if hashlib.sha256(content).hexdigest() == digest:
                return content
    return None


def whole(tree: str) -> bool:
    """Every file of it is there, and right."""
    if stamped(tree):
        return True
    right = _is_right(tree)
    if right:
        stamp(tree)
    return right


def stamped(tree: str) -> bool:
    """It was found whole since this machine was started."""
    boot = text(BOOT)
    return bool(boot) and boot in text(os.path.join(tree, STAMP)).split()


def stamp(tree: str) -> None:
    """What was compiled before goes: a power cut may have damaged that, too, and nothing tells."""
    for folder, names, _ in os.walk(tree):
        if "__pycache__" in names:
            names.remove("__pycache__")
            import shutil  # of no use on nearly all hosts

            shutil.rmtree(os.path.join(folder, "__pycache__"), ignore_errors=True)
    part = os.path.join(tree, f"{STAMP}.{os.getpid()}")
    with contextlib.suppress(OSError):  # a disk that is full: it is looked at again next time
        known = text(os.path.join(tree, STAMP)).split()
        with open(part, "w") as file:
            file.write("\n".join([*known[1 - KEPT :], text(BOOT)]) + "\n")
        os.replace(part, os.path.join(tree, STAMP))


def _is_right(tree: str) -> bool:
    import hashlib  # where it is looked at alone

    try:
        with open(os.path.join(tree, LISTING), "rb") as file:
            listing = file.read()
        name = os.path.basename(tree)
        if hashlib.sha256(listing).hexdigest()[: len(name)] != name:
            return False
        for line in listing.decode().splitlines():
            path, _, digest = line.rsplit(" ", 2)
            with open(os.path.join(tree, *path.split("/")), "rb") as file:
                if hashlib.sha256(file.read()).hexdigest() != digest:
                    return False
    except (OSError, ValueError):
        return False
    return True

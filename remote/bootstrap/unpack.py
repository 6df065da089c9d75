"""A gzipped tar on stdin becomes a folder of `~/.motley/code/`. Runs on a host: see `remote.bootstrap`."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import zlib
from typing import BinaryIO

from remote.bootstrap.files import CODE, answer


def main(argv: list[str], stdin: BinaryIO) -> None:
    """`~/.motley/code/<argv[0]>/` is there afterwards, complete or not at all; two at once do no harm."""
    try:
        answer({"ok": True, "sent": store(argv[0], gzip.decompress(stdin.read()))})
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        answer({"ok": False, "error": f"{type(error).__name__}: {error}"})


def store(name: str, packed: bytes) -> bool:
    """False when it is there already."""
    target = os.path.join(CODE, name)
    if os.path.isdir(target):
        return False
    os.makedirs(CODE, mode=0o700, exist_ok=True)
    work = tempfile.mkdtemp(prefix="." + name + "-", dir=CODE)
    try:
        listed = hashlib.sha256()
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            for member in sorted(tar.getmembers(), key=lambda m: m.name):
                parts = member.name.split("/")
                source = tar.extractfile(member) if member.isfile() else None
                if source is None or member.name.startswith("/") or ".." in parts:
                    raise ValueError(f"the tree holds {member.name!r}")
                content = source.read()
                path = os.path.join(work, *parts)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "wb") as file:
                    file.write(content)
                mode = 0o755 if member.mode & 0o100 else 0o644
                os.chmod(path, mode & ~0o222)
                listed.update(f"{member.name} {mode:o} {hashlib.sha256(content).hexdigest()}\n".encode())
        if listed.hexdigest()[: len(name)] != name:
            raise ValueError("the tree came damaged")
        try:
            os.rename(work, target)
        except OSError:
            if os.path.isdir(target):
                return False  # another console was quicker
            raise
        return True
    finally:
        shutil.rmtree(work, ignore_errors=True)

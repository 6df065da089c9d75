"""A gzipped tar on stdin becomes a folder of `~/.motley/code/`. Runs on a host: see `trainer.bootstrap`.

A line of JSON comes before it: the files to take from the trees that are there, as for `trainer.bootstrap.lacks`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
import zlib
from typing import Any, BinaryIO

from trainer.bootstrap.files import CODE, answer
from trainer.bootstrap.trees import elsewhere, trees


def main(argv: list[str], stdin: BinaryIO) -> None:
    """`~/.motley/code/<argv[0]>/` is there afterwards, complete or not at all; two at once do no harm."""
    try:
        kept = json.loads(stdin.readline())
        answer({"ok": True, "sent": store(argv[0], kept, gzip.decompress(stdin.read()))})
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        answer({"ok": False, "error": f"{type(error).__name__}: {error}"})


def store(name: str, kept: dict[str, Any], packed: bytes) -> bool:
    """False when it is there already."""
    target = os.path.join(CODE, name)
    if os.path.isdir(target):
        return False
    os.makedirs(CODE, mode=0o700, exist_ok=True)
    work = tempfile.mkdtemp(prefix="." + name + "-", dir=CODE)
    try:
        listed, places = hashlib.sha256(), trees() if kept else []
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            sent = {member.name: member for member in tar.getmembers()}
            for path in sorted({*sent, *kept}):
                parts = path.split("/")
                if path.startswith("/") or ".." in parts:
                    raise ValueError(f"the tree holds {path!r}")
                if path in sent:
                    source = tar.extractfile(sent[path]) if sent[path].isfile() else None
                    content, given = source.read() if source else None, sent[path].mode
                else:
                    content, given = elsewhere(places, path, *kept[path][:2]), kept[path][2]
                if content is None:
                    raise ValueError(f"the tree holds {path!r}, which is no file or not here any more")
                place = os.path.join(work, *parts)
                os.makedirs(os.path.dirname(place), exist_ok=True)
                with open(place, "wb") as file:
                    file.write(content)
                mode = 0o755 if given & 0o100 else 0o644
                os.chmod(place, mode & ~0o222)
                listed.update(f"{path} {mode:o} {hashlib.sha256(content).hexdigest()}\n".encode())
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

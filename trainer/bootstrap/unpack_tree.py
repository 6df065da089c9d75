"""A gzipped tar on stdin becomes a folder of `~/.motley/code/`. Runs on a host: see `trainer.bootstrap`.

A line of JSON comes before it: the files to take from the trees that are there, as for
`trainer.bootstrap.missing_files`.
"""

from __future__ import annotations

import filecmp
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

from motley.trainer.bootstrap.code_trees import LISTING, elsewhere, stamp, trees, whole
from motley.trainer.bootstrap.durable import make_folder, sync_file, sync_folder
from motley.trainer.bootstrap.files import CODE, answer


def main(argv: list[str], stdin: BinaryIO) -> None:
    """`~/.motley/code/<argv[0]>/` is there afterwards, complete or not at all; two at once do no harm."""
    try:
        kept = json.loads(stdin.readline())
        answer({"ok": True, "sent": store(argv[0], kept, gzip.decompress(stdin.read()))})
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        answer({"ok": False, "error": f"{type(error).__name__}: {error}"})


def store(name: str, kept: dict[str, Any], packed: bytes) -> bool:
    """False when it is there already. One that a power cut has damaged is mended, file by file."""
    target = os.path.join(CODE, name)
    if os.path.isdir(target) and whole(target):
        return False
    make_folder(CODE, 0o700)
    work = tempfile.mkdtemp(prefix="." + name + "-", dir=CODE)
    try:
        places, listing = trees() if kept else [], ""
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            sent = {member.name: member for member in tar.getmembers()}
            paths = sorted({*sent, *kept})
            for path in paths:
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
                mode = 0o755 if given & 0o100 else 0o644
                _lay(os.path.join(work, *parts), content, mode)
                listing += f"{path} {mode:o} {hashlib.sha256(content).hexdigest()}\n"
        if hashlib.sha256(listing.encode()).hexdigest()[: len(name)] != name:
            raise ValueError("the tree came damaged")
        _lay(os.path.join(work, LISTING), listing.encode(), 0o644)
        _sync(work)
        try:
            os.rename(work, target)
        except OSError:
            if not os.path.isdir(target):
                raise
            if whole(target):
                return False  # another console was quicker
            _mend(target, work, [*paths, LISTING])
        sync_folder(CODE)
        stamp(target)
        return True
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _lay(place: str, content: bytes, mode: int) -> None:
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place, "wb") as file:
        file.write(content)
    os.chmod(place, mode & ~0o222)


def _sync(work: str) -> None:
    """All files, once all are written: the disk takes them together."""
    for folder, _, names in os.walk(work):
        for name in names:
            sync_file(os.path.join(folder, name))
        sync_folder(folder)


def _mend(target: str, work: str, paths: list[str]) -> None:
    """Put right what differs. What else is in the folder, such as what a script has written there, stays."""
    changed = set()
    for path in paths:
        new, place = (os.path.join(top, *path.split("/")) for top in (work, target))
        if not os.path.isfile(place) or not filecmp.cmp(new, place, shallow=False):
            make_folder(os.path.dirname(place))
            os.replace(new, place)
            changed.add(os.path.dirname(place))
    for folder in changed:
        sync_folder(folder)

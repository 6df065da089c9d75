"""The files of a run that its patterns name, where its script writes: in its working folder, and in `MOTLEY_DIR`.

    >>> look = find(run_folder, Patterns(["out/**"]))
    >>> look.files["out/model.pt"]
    FoundFile(place='/home/ada/.motley/runs/night/box1/work/out/model.pt', size=812, mtime_ns=…, changed_ns=…)

A link is taken for the file that it leads to, within these folders; links to folders are not followed. What is no
file of bytes, leads out, or has a name that not every disk can have, is left and said why.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from motley.trainer.contract.result_patterns import Patterns
from motley.trainer.host.session_mark import is_session
from motley.trainer.results.working_folder import WORK

MOST_FILES = 100_000  # as many as `remote.provision.local_folder` brings back
OURS = re.compile(  # what Motley keeps at the top of the run's folder
    r"(spec|state|stop|summary|lead|roll|rerun|requeued|before|session|checkpoint|report_\d+)\.json|lock|\..*"
    r"|(events|last_words|log)\.jsonl"
    r"|(coordinator|rank_\d+)(\.\d+)?\.\w+|supervisor\.log|requeued\.log|threads_\d+|roll\.lock|script_\d+\.start|trace_rank_\d+\.json\.gz"
)


CHECKPOINTS = "checkpoints"  # of the run's folder, those of a script that calls `motley.session()`
ODD_NAME = "it has a name that not every disk can have"


@dataclass(frozen=True, slots=True)
class FoundFile:
    place: str  # where it can be read
    size: int
    mtime_ns: int
    changed_ns: int  # by the clock of this host's kernel, whatever the file says of itself

    @property
    def version(self) -> tuple[int, int]:
        """Another one when it was written once more, as far as a copy of it can tell."""
        return self.size, self.mtime_ns


@dataclass(slots=True)
class Look:
    files: dict[str, FoundFile] = field(default_factory=dict)  # by the path that the pattern has matched
    left: dict[str, str] = field(default_factory=dict)  # why not
    more: bool = False  # than are looked at


def find(folder: Path, patterns: Patterns, *, most: int = MOST_FILES) -> Look:
    """What lies there now. Of a path that is in both folders the file that was changed last is taken."""
    look = Look()
    ours = {WORK, CHECKPOINTS} if is_session(folder) else {WORK}
    for root in (os.path.join(folder, WORK), os.fspath(folder)):
        shared, real = root == os.fspath(folder), os.path.realpath(root)
        for path, entry in _walk(root, patterns, besides=ours if shared else set()):
            if shared and OURS.fullmatch(path):
                look.left[path] = "it has the name of a file of Motley's own: call it otherwise"
                continue
            if len(look.files) >= most and path not in look.files:
                look.left[""] = f"there are more than {most:,} files: those beyond are left there"
                look.more = True
                return look
            file = _file(path, entry, real)
            if isinstance(file, str):
                look.left[path] = file
            elif file is not None and (path not in look.files or file.changed_ns > look.files[path].changed_ns):
                look.files[path] = file
    return look


def _walk(root: str, patterns: Patterns, *, besides: set[str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    folders = [""]
    while folders:
        below = folders.pop()
        try:
            entries = sorted(os.scandir(os.path.join(root, below)), key=lambda entry: entry.name)
        except OSError:  # gone meanwhile, or not to be read
            continue
        for entry in entries:
            path = f"{below}/{entry.name}" if below else entry.name
            if path in besides:
                continue
            if _is_folder(entry):
                if patterns.may_hold(path):
                    folders.append(path)
            elif patterns.match(path):
                yield path, entry


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _file(path: str, entry: os.DirEntry[str], root: str) -> FoundFile | str | None:
    """Or why it is left; None for what is gone, or comes under its own name."""
    if not path.isprintable() or len(path.encode()) > 1000 or any(len(part.encode()) > 240 for part in path.split("/")):
        return ODD_NAME
    place = entry.path
    try:
        if entry.is_symlink():
            place = os.path.realpath(place)
            if os.path.commonpath([place, root]) != root:
                return f"it is a link that leads out, to {os.readlink(entry.path)}"
            if os.path.isdir(place):
                return None
        info = os.stat(place, follow_symlinks=False)
    except OSError:
        return None
    if not stat.S_ISREG(info.st_mode):
        return "it is no file of bytes"
    return FoundFile(place, info.st_size, info.st_mtime_ns, max(info.st_ctime_ns, info.st_mtime_ns))

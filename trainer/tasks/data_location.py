"""Where a data set's files lie on this host: the user's folder, ours, the system's, or else downloaded into ours.

`trainer.tasks.datasets` asks it for the folder and then reads the files there.

    >>> find(source, DataOptions(path="/data/fashion"), note)
    PosixPath('/data/fashion')
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from motley.trainer.contract.spec import DataOptions
from motley.trainer.errors import DataError
from motley.trainer.tasks.download import Archive, Note, fetch


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The official files of one data set. `missing` names the ones a folder lacks; none: it can be read."""

    name: str
    archives: tuple[Archive, ...]
    missing: Callable[[Path], tuple[str, ...]]
    some: Callable[[Path], bool]  # whether a folder holds any of the files
    system: Path | None = None


def own_folder(name: str) -> Path:
    """Where downloads of a data set are kept, and files put by hand are found."""
    return Path.home() / ".motley" / "data" / name


_open: list[int] = []


def keep_open(folder: Path) -> None:
    """Until this process ends, so that `motley clean` sees that the folder is in use."""
    with contextlib.suppress(OSError):  # there is nothing to protect, then
        _open.append(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))


def find(source: Source, options: DataOptions, note: Note) -> Path:
    """A folder in which nothing is missing, which stays in use. Raises DataError that names every folder searched."""
    folder = _find(source, options, note)
    keep_open(folder)
    return folder


def _find(source: Source, options: DataOptions, note: Note) -> Path:
    own = own_folder(source.name)
    folders = [own, source.system] if source.system else [own]
    if options.path:
        named = Path(options.path).expanduser()
        missing = source.missing(named)
        if not missing:
            return named
        if source.some(named):
            raise DataError(
                f"{named}: some files of {source.name} are there, but not {', '.join(missing)}",
                "Add them, or leave [data] path out",
            )
        note(f"{named} holds no {source.name}: looking elsewhere", None)
    for folder in folders:
        if not source.missing(folder):
            return folder
    if not options.download:
        searched = ", ".join(str(folder) for folder in ([Path(options.path)] if options.path else []) + folders)
        files = ", ".join(archive.name for archive in source.archives)
        raise DataError(
            f"{source.name}: not found in {searched}, and [data] download is off",
            f"Put {files} into one of them on this host, or name the folder that holds them in [data] path",
        )
    for archive in source.archives:
        fetch(archive, own, note)
    return own

"""Which files of a host hold the rows that `[task] train` or `test` names.

A name belongs into the folder of `[data] push` or `path`; one that begins with / or ~ is a path on the host. What is
a folder gives all its data files, in the order of their names.

    >>> data_files("train.jsonl", Path("/home/ada/.motley/data/8f5a…/files"), "train")
    [PosixPath('/home/ada/.motley/data/8f5a…/files/train.jsonl')]
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from motley.trainer.errors import DataError

KINDS = (".jsonl", ".json", ".parquet", ".txt")
_SHOWN = 12  # names of what is there instead


def data_files(name: str, data_path: Path | None, key: str) -> list[Path]:
    """At least one file, each of one of `KINDS`, all of the same. `key`: of `[task]`, for errors.

    Raises DataError for a path that leads nowhere, out of the data's folder, or to no data.
    """
    place = _place(name, data_path, key)
    said = f'[task] {key} = "{name}"'
    if place.is_dir():
        return _in_folder(place, said)
    if not place.exists():
        raise DataError(f"{said}: there is no {place}", _instead(place))
    if not place.is_file():
        raise DataError(f"{said}: {place} is no file", f"Name one that ends in {_listed(KINDS)}")
    if place.suffix.lower() not in KINDS:
        kind = place.suffix or "no ending"
        raise DataError(f"{said}: files of rows end in {_listed(KINDS)}, this one has {kind}", "Rename or convert it")
    return [place]


def _place(name: str, data_path: Path | None, key: str) -> Path:
    if name.startswith(("/", "~")):
        return Path(name).expanduser()
    said = f'[task] {key} = "{name}"'
    if not name.strip():
        raise DataError(f"{said}: names no file", f"Name one that ends in {_listed(KINDS)}")
    if data_path is None:
        raise DataError(
            f"{said}: no folder is known that it is in",
            'Name its folder: [data] push = "FOLDER" beside cluster.toml, or path = "/FOLDER" on the hosts',
        )
    inside = os.path.normpath(name)
    if inside.split(os.sep)[0] == os.pardir:
        raise DataError(
            f"{said}: leads out of {data_path}, the folder that [data] names",
            "Put the file into that folder, or give its whole path on the hosts, from /",
        )
    return data_path / inside


def _in_folder(folder: Path, said: str) -> list[Path]:
    there = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    found = [path for path in there if path.suffix.lower() in KINDS]
    kinds = sorted({path.suffix.lower() for path in found})
    if not found:
        raise DataError(f"{said}: {folder} has no file that ends in {_listed(KINDS)}", _instead(folder / "x"))
    if len(kinds) > 1:
        raise DataError(f"{said}: {folder} has files of several kinds ({', '.join(kinds)})", "Name one of its files")
    return found


def _instead(place: Path) -> str:
    """What the nearest folder has that is there."""
    folder = place.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        return f"{folder} can't be looked into: {error.strerror or error}"
    if not names:
        return f"{folder} is empty"
    if near := difflib.get_close_matches(place.name, names, n=1):
        return f"Did you mean {near[0]}?"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{folder} has {', '.join(names[:_SHOWN])}{more}"


def _listed(kinds: tuple[str, ...]) -> str:
    return f"{', '.join(kinds[:-1])} or {kinds[-1]}"

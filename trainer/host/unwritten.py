"""Small tables of a run that could not be written, on a full or read-only disk: they hold in this process all the same.

Who leads and who takes part is read back from here before the disk. The table is written with the next one that is,
and a process that is started meanwhile is handed what is not on the disk (`handed_on`).

    >>> keep(folder / "roll.json", table, note)        # raises nothing; `note` is told once of each file
    >>> tables_of(folder / "roll.json") == [table]
    True
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from motley.trainer.host.paths import read_json, write_json

NAME = "MOTLEY_UNWRITTEN"
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_tables: dict[str, dict[str, Any]] = json.loads(os.environ.get(NAME, "{}"))  # by path
_told: set[str] = set()


def keep(path: Path, table: dict[str, Any], note: Callable[[str], object] | None) -> None:
    """Write a table; where the disk does not take it, keep it for this process and those that it starts.

    Without a `note` to tell of that nothing is kept, and OSError is raised: for a process that is about to end.
    """
    place = os.fspath(path)
    try:
        write_json(path, table)
        _tables.pop(place, None)
        _told.discard(place)
    except OSError as error:
        if note is None:
            raise
        _tables[place] = table
        if place not in _told:
            _told.add(place)
            note(
                f"{path.name} can't be written ({error.strerror or error}): the run goes on without it. "
                f"{remedy(error, path.parent)}"
            )


def remedy(error: OSError, folder: Path) -> str:
    """What helps where a file of this folder could not be written.

    >>> remedy(OSError(errno.EROFS, "Read-only file system"), Path("/home"))
    'The disk of /home is read-only: dmesg there may say what is wrong with it'
    """
    if error.errno in NO_ROOM:
        return f"Make room on the disk of {folder}"
    if error.errno == errno.EROFS:
        return f"The disk of {folder} is read-only: dmesg there may say what is wrong with it"
    return f"Check that {folder} is a folder this user can write to"


def tables_of(path: Path) -> list[dict[str, Any]]:
    """What is known: on the disk, and of this process, which need not be newer. Empty when there is none."""
    return [table for table in (read_json(path), _tables.get(os.fspath(path))) if table]


def handed_on() -> dict[str, str]:
    """For the environment of a process that is to know it, too."""
    return {NAME: json.dumps(_tables)} if _tables else {}

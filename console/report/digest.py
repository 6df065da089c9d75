"""What a report came to, kept in the run's folder: a large run is not read again each time it is told of.

`report.digest.json` holds a report as it is, its version, and what of the folder it is of: the length of each file, and
a hash over parts of it. It is read in place of the records when all of that fits, and made anew when not. It is data of
whoever wrote the folder, as the records are: every value is checked, and made safe to show.

    >>> keep(past, report)
    True
    >>> kept(past) == report
    True
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import types
import typing
from functools import cache
from pathlib import Path
from typing import Any

import motley
from motley.console.report.past_run import PastRun, record_files
from motley.console.report.report import Report
from motley.remote.sanitize import clean_table

NAME = "report.digest.json"
VERSION = 1  # of what a report holds, and of how its figures are made
LEAST = 8 << 20  # bytes of records: fewer are read as quickly
MOST_BYTES = 8 << 20  # of a digest
PARTS, PART = 64, 4096  # so many bytes, at so many places of a file

_begun: list[subprocess.Popen[bytes]] = []


def kept(past: PastRun) -> Report | None:
    """The report that was kept; None where there is none, or it does not fit what is here."""
    path = past.folder / NAME
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MOST_BYTES:
            return None
        table = json.loads(path.read_bytes())
        if not isinstance(table, dict) or (table.get("v"), table.get("of")) != (VERSION, _of(past)):
            return None
        report = _made(Report, clean_table(table.get("report")))
    except (OSError, ValueError, RecursionError, TypeError, OverflowError):
        return None
    if not isinstance(report, Report):
        return None
    return dataclasses.replace(report, run=past.name, folder=str(past.folder))


def keep(past: PastRun, report: Report) -> bool:
    """Whether it was kept: only of a run that is over and large. Nothing but that file is written, in the folder
    itself; where that can't be done it is made anew the next time."""
    folder = past.folder
    try:
        if report.going_on or not is_large(folder):
            return False
        table = {"v": VERSION, "of": _of(past), "report": dataclasses.asdict(report)}
        content = json.dumps(table, separators=(",", ":"), allow_nan=False).encode()
        if len(content) > MOST_BYTES or _made(Report, clean_table(json.loads(content)["report"])) != report:
            return False  # too much, or figures that no reader takes: they are read from the records each time
        fresh = folder / f".{NAME}.{os.getpid()}"
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.replace(fresh, folder / NAME)
        except BaseException:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise
    except (OSError, ValueError, TypeError, OverflowError):
        return False
    return True


def is_large(folder: Path) -> bool:
    """Whether its records take long to read. Raises OSError."""
    return sum(path.stat().st_size for path in record_files(folder)) >= LEAST


def begin_digest(folder: Path) -> None:
    """Once a large run is over, what a report says of it is made ready beside the console, in a process of its own,
    which takes seconds and ends by itself."""
    with contextlib.suppress(OSError):
        if is_large(folder):
            words = [sys.executable, "-m", "motley.console.report.read_report", str(folder.absolute())]
            nothing, above = subprocess.DEVNULL, str(Path(motley.__file__).absolute().parent.parent)
            paths = os.pathsep.join([above, *filter(None, [os.environ.get("PYTHONPATH")])])
            _begun.append(
                subprocess.Popen(
                    words,
                    stdin=nothing,
                    stdout=nothing,
                    stderr=nothing,
                    start_new_session=True,
                    cwd=os.sep,
                    env={**os.environ, "PYTHONPATH": paths},
                )
            )


def _of(past: PastRun) -> dict[str, Any]:
    """What a digest is of: of each file its length, and a hash of it, or of parts of a large one."""
    files = [past.folder / "cluster.toml", past.folder / "summary.json", *record_files(past.folder)]
    return {"name": past.name, **{str(path.relative_to(past.folder)): _mark(path) for path in files if path.is_file()}}


def _mark(path: Path) -> list[Any]:
    digest, size = hashlib.sha256(), path.stat().st_size
    with path.open("rb") as file:
        if size <= PARTS * PART:
            digest.update(file.read(PARTS * PART))
        else:
            for number in range(PARTS):
                file.seek(number * (size - PART) // (PARTS - 1))
                digest.update(file.read(PART))
    return [size, digest.hexdigest()]


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _made(hint: Any, value: Any) -> Any:
    """A value of JSON as the type that a field has. Raises ValueError for one that is none."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        return _made(next(one for one in arguments if one is not type(None)), value)
    if origin is typing.Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list):
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_made(arguments[0], one) for one in value)
        return tuple(_made(one, item) for one, item in zip(arguments, value, strict=True))
    if (origin is dict and isinstance(value, dict)) or hint is object:
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, dict):
        hints = _hints(hint)
        return hint(**{name: _made(hints[name], value[name]) for name in hints if name in value})
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    raise ValueError(f"{value!r} is no {hint}")

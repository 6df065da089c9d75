"""The records of a file, one by one, each with the place it comes from: JSON lines, a JSON list, parquet, text.

    >>> next(records([Path("train.jsonl")]))
    Record(fields={'question': 'Who?', 'answer': 'I.'}, where='train.jsonl:1')

Nothing is passed over silently but empty lines: what is no record is an error with its file and line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from motley.trainer.errors import DataError

_SAVE_AS = "Save the file as UTF-8"
_BATCH = 1024  # rows of parquet at once


@dataclass(frozen=True, slots=True)
class Record:
    """`whole`: one long text, to be cut into rows; else the record is one row."""

    fields: dict[str, Any]
    where: str  # `train.jsonl:17`
    whole: bool = False


def records(files: Sequence[Path]) -> Iterator[Record]:
    """Of all files, in order. Raises DataError for one that can't be read, that is empty, or that holds something
    else."""
    for file in files:
        found = False
        try:
            for record in _READERS[file.suffix.lower()](file):
                found = True
                yield record
        except OSError as error:
            raise DataError(
                f"{file}: can't be read ({error.strerror or error})", "Look at it on this host, and at who may read it"
            ) from error
        if not found:
            raise DataError(f"{file}: is empty", "Put rows into it, or name another file")


def _json_lines(file: Path) -> Iterator[Record]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            where = f"{file.name}:{number}"
            text = _decoded(line, where, first=number == 1)
            if not text.strip():
                continue
            try:
                value = json.loads(text.strip())
            except (ValueError, RecursionError) as error:
                if number == 1 and text.lstrip().startswith("["):
                    raise DataError(f"{where}: begins a list", "A file that is one JSON list ends in .json") from error
                raise DataError(f"{where}: is not JSON ({_why(error)})", "One row a line, a JSON object") from error
            yield Record(_object(value, where), where)


def _json_list(file: Path) -> Iterator[Record]:
    text = _decoded(file.read_bytes(), file.name, first=True)
    if not text.strip():
        return
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        hint = "One object a line is a file that ends in .jsonl" if error.msg == "Extra data" else "Mend it there"
        raise DataError(f"{file.name}:{error.lineno}: is not JSON ({error.msg})", hint) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file.name}: is not JSON ({_why(error)})", "Mend it") from error
    if not isinstance(rows, list):
        lists = [key for key, value in rows.items() if isinstance(value, list)] if isinstance(rows, dict) else []
        among = f"; its {lists[0]} is one" if lists else ""
        raise DataError(
            f"{file.name}: holds {kind_of(rows)}, not a list of rows{among}", "Put the list of rows alone into it"
        )
    for number, value in enumerate(rows, 1):
        where = f"{file.name}, row {number}"
        yield Record(_object(value, where), where)


def _parquet(file: Path) -> Iterator[Record]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(
            f"{file.name}: parquet is read with pyarrow, which this host's Python does not have",
            "pip install pyarrow there, or save the rows as .jsonl",
        ) from error
    number = 0
    try:
        with parquet.ParquetFile(file) as opened:
            for batch in opened.iter_batches(_BATCH):
                for fields in batch.to_pylist():
                    number += 1
                    yield Record(fields, f"{file.name}, row {number}")
    except (pyarrow.ArrowException, ValueError) as error:
        raise DataError(f"{file.name}: is no parquet, or damaged ({_why(error)})", "Copy it anew") from error


def _text(file: Path) -> Iterator[Record]:
    """Its paragraphs, or all of it where it has one alone."""
    text = _decoded(file.read_bytes(), file.name, first=True).replace("\r\n", "\n")
    found: list[tuple[int, str]] = []
    lines: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if line.strip():
            lines.append(line)
        elif lines:
            found.append((number - len(lines), "\n".join(lines)))
            lines = []
    for number, paragraph in found:
        yield Record({"text": paragraph}, f"{file.name}:{number}", whole=len(found) == 1)


_READERS = {".jsonl": _json_lines, ".json": _json_list, ".parquet": _parquet, ".txt": _text}


def _decoded(content: bytes, where: str, *, first: bool) -> str:
    """`first`: it may begin with a mark that says UTF-8, as files of Windows do."""
    try:
        return content.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        if first and content[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise DataError(f"{where}: is UTF-16, not UTF-8", _SAVE_AS) from error
        line = "" if ":" in where else f":{content.count(10, 0, error.start) + 1}"
        raise DataError(f"{where}{line}: byte {content[error.start]:#04x} is no UTF-8", _SAVE_AS) from error


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{where}: is {kind_of(value)}, not an object", 'A row is {"field": "its text", …}')
    return value


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.colno}"
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def kind_of(value: Any) -> str:
    """What a value of a row is, in words.

    >>> kind_of(3.5), kind_of(None)
    ('a number', 'null')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, (list, tuple)) else "an object" if isinstance(value, dict) else "no text"

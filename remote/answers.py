"""What a program on a host has answered: one table, its text made safe to show, and its values of the types they are
to have. The one place that words of a host come through, but for its logs (`remote.experiment.records`).

Every program of `trainer.bootstrap` (`remote.provision.bootstrap`) and every verb of the trainer (`remote.rpc.verbs`)
answers by `answer_of`. What does not fit in the answer is a CommandFailed that names the host and the program, wherever
it is met.

    >>> answer = answer_of("box1", "roll", b'{"code": "two"}')
    >>> answer.whole("code")
    CommandFailed: box1: what `roll` answered there can't be used: code is of type str. Report this. …
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from motley.remote.errors import CommandFailed
from motley.remote.sanitize import clean, clean_table
from motley.trainer.contract.wire import MOST

T = TypeVar("T")
REPORT = "Report this. Until it is mended, do without the host: take it out of cluster.toml"
_UNFIT = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class Answer(Mapping[str, Any]):
    """Of `program` on `host`. As a mapping it gives what is there, of whatever type; the methods take one type each,
    and give its empty value where there is nothing."""

    def __init__(self, host: str, program: str, table: dict[str, Any]) -> None:
        self.host = host
        self.program = program
        self._table: dict[str, Any] = clean_table(table)

    def __getitem__(self, key: str) -> Any:
        return self._table[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    @property
    def ok(self) -> bool:
        """Whether it says so."""
        return self._table.get("ok") is True

    def text(self, key: str) -> str:
        return self._of(str, key) or ""

    def whole(self, key: str) -> int:
        return self._of(int, key) or 0

    def texts(self, key: str) -> list[str]:
        with using(self.host, self.program):
            return list(_value(key, tuple[str, ...], self._table.get(key) or []))

    def tables(self, key: str) -> list[dict[str, Any]]:
        found = self._of(list, key) or []
        with using(self.host, self.program):
            if not all(isinstance(row, dict) for row in found):
                raise TypeError(f"{key} is no list of tables")
        return found

    def _of(self, kind: type[T], key: str) -> T | None:
        with using(self.host, self.program):
            value = self._table.get(key)
            if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
                raise TypeError(f"{key} is of type {type(value).__name__}")
            return value


def answer_of(host: str, program: str, line: bytes) -> Answer:
    """Raises CommandFailed when the line is no table of JSON."""
    try:
        table = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CommandFailed(host, f"`{program}` answered what is not JSON: {error}", REPORT) from error
    if not isinstance(table, dict):
        raise CommandFailed(host, f"`{program}` answered {type(table).__name__}, no table", REPORT)
    return Answer(host, program, table)


@contextlib.contextmanager
def using(host: str, program: str) -> Iterator[None]:
    """Around whatever is made of an answer: what does not fit in it becomes a CommandFailed."""
    try:
        yield
    except _UNFIT as error:
        said = str(error) if isinstance(error, (TypeError, ValueError)) else f"{type(error).__name__} {error}"
        raise CommandFailed(host, f"what `{program}` answered there can't be used: {clean(said)}", REPORT) from error


def made(kind: type[T], table: Mapping[str, Any], prefix: str = "") -> T:
    """A dataclass out of a table that has each of its fields, of its type; other keys are left out.

    Raises ValueError that names the field which is missing or of another type.
    """
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.name not in table:
            raise ValueError(f"no {prefix}{field.name}")
        values[field.name] = _value(f"{prefix}{field.name}", hints[field.name], table[field.name])
    return kind(**values)


def _value(name: str, hint: Any, value: Any) -> Any:
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        if isinstance(item, type) and dataclasses.is_dataclass(item):
            if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
                raise ValueError(f"{name} that are no list of tables")
            return tuple(made(item, row, f"{name}.") for row in value)
        what = "names" if item is str else "numbers"
        if not isinstance(value, list) or not all(isinstance(x, item) and not isinstance(x, bool) for x in value):
            raise ValueError(f"{name} that is no list of {what}")
        return tuple(clean(x) if isinstance(x, str) else x for x in value)
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if value is None and NoneType in kinds:
        return None
    kinds += (int,) * (float in kinds)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ValueError(f"{name} of type {type(value).__name__}")
    if isinstance(value, (int, float)) and not abs(value) < MOST:
        raise ValueError(f"{name} that is out of bounds")
    return clean(value) if isinstance(value, str) else value

"""A rank's line as `trainer.contract.wire.encode` writes it, read quickly: a long run has hundreds of thousands.

It is the same as `remote.experiment.records.record_of`, or None: then the line has to be looked at as any other.

    >>> quick_sample(encode(sample)[:-1]) == sample, quick_sample(b"torn")
    (True, None)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from operator import itemgetter
from typing import Any

from motley.remote.sanitize import clean
from motley.trainer.contract.wire import LATEST, VERSION, Sample, WireError, decode, encode

_BOUND = 2.0**62  # of all numbers: a larger one is looked at closely
MOST_TEXTS = 1000  # names of hosts and units that are remembered
_KINDS = 64  # of lines, by the types of their values, that are remembered
_read = json.JSONDecoder(parse_constant=lambda _: None).decode
_known: dict[tuple[type, ...], tuple[tuple[str, ...], Callable[[Any], Any]]] = {}  # names and numbers by types
_texts: dict[str, str | None] = {}  # each of them once; None for one that may not be shown as it is


def quick_sample(line: bytes) -> Sample | None:
    try:
        table = _read(str(line, "utf-8"))
    except (ValueError, RecursionError):
        return None
    if type(table) is not dict:
        return None
    values = tuple(table.values())
    known = _known.get(tuple(map(type, values)))
    if known is None:
        return _met(line, table, values)
    names, numbers = known
    if tuple(table) != names or values[0] != VERSION or values[1] != "sample":
        return None
    figures = numbers(values)
    if not (max(figures) < _BOUND and min(figures) > -_BOUND and 0 <= table["time"] < LATEST):
        return None
    host, unit = _shown(table["host"]), _shown(table["unit"])
    if host is None or unit is None:
        return None
    table["host"], table["unit"] = host, unit
    del table["v"], table["type"]
    return Sample(**table)


def _met(line: bytes, table: dict[str, Any], values: tuple[Any, ...]) -> Sample | None:
    """A line of types that are new: it is looked at as any other, and known from now on if it is as `encode` has it."""
    try:
        sample = decode(line)
    except WireError:
        return None
    if not isinstance(sample, Sample) or len(_known) >= _KINDS:
        return None
    if tuple(table) != tuple(json.loads(encode(sample))):
        return None
    places = [place for place, value in enumerate(values) if isinstance(value, (int, float))]
    _known[tuple(map(type, values))] = tuple(table), itemgetter(*places)
    return quick_sample(line)


def _shown(text: str) -> str | None:
    if text not in _texts:
        if len(_texts) >= MOST_TEXTS:
            return None
        _texts[text] = text if clean(text) == text else None
    return _texts[text]

"""The lines of ranks read by blocks: a long run has hundreds of thousands, and a report takes a few figures of each.

A block of lines, each as `trainer.contract.wire.encode` writes it, becomes the figures that reports use. They are what
`quick_sample` reads, or None: then each line of the block has to be looked at as any other. Numbers are taken only
where they need no bound: such as are larger are left to the close look, and so is text with anything odd in it.

    >>> [line.step for line in step_lines(encode(first) + encode(second))]
    [1, 2]
    >>> step_lines(b"torn\n") is None
    True
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import repeat
from typing import NamedTuple

from motley.remote.sanitize import clean
from motley.trainer.contract.wire import VERSION


class StepLine(NamedTuple):
    """As `wire.Sample` has them, with its units."""

    step: int
    epoch: int
    time: float
    host: str
    member: int
    rank: int
    generation: int
    batch: int
    loss: float | None
    compute_ms: float
    wait_ms: float
    step_ms: float
    mem_mib: float | None
    step_batch: int | None
    gain: float | None
    saved_s: float | None
    share: int | None
    unit: str
    units: int | None


_WHOLE = r"-?(?:0|[1-9]\d{0,14})"
_FIGURE = r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,40})?(?:e-\d{1,3})?"
_TIME = r"(?:0|[1-9]\d{0,9})(?:\.\d{1,40})?"
_TEXT = r'"([ !#-\[\]-~]{0,200})"'
_MAYBE_WHOLE, _MAYBE_FIGURE = f"null|{_WHOLE}", f"null|{_FIGURE}"
_KEYS = (
    ("seq", _WHOLE), ("step", f"({_WHOLE})"), ("epoch", f"({_WHOLE})"), ("time", f"({_TIME})"), ("host", _TEXT),
    ("member", f"({_WHOLE})"), ("rank", f"({_WHOLE})"), ("generation", f"({_WHOLE})"), ("batch", f"({_WHOLE})"),
    ("loss", f"({_MAYBE_FIGURE})"), ("compute_ms", f"({_FIGURE})"), ("wait_ms", f"({_FIGURE})"), ("data_ms", _FIGURE),
    ("step_ms", f"({_FIGURE})"), ("samples_per_s", _FIGURE), ("mem_mib", f"({_MAYBE_FIGURE})"),
    ("gpu_util", f"(?:{_MAYBE_FIGURE})"), ("step_batch", f"({_MAYBE_WHOLE})"), ("gain", f"({_MAYBE_FIGURE})"),
    ("saved_s", f"({_MAYBE_FIGURE})"), ("share", f"({_MAYBE_WHOLE})"), ("unit", _TEXT), ("units", f"({_MAYBE_WHOLE})"),
)  # fmt: skip
_SAME = ("host", "member", "rank", "generation", "step_batch", "share", "unit", "units")  # in most lines of a block
_PLACES = {name: place for place, name in enumerate(StepLine._fields)}
_SAME_PLACES = tuple(map(_PLACES.__getitem__, _SAME))


def _pattern(same: Mapping[str, str]) -> re.Pattern[str]:
    """Of a line; its groups are the fields of StepLine in their order, without those that are the `same` in all."""
    keys = ",".join(f'"{key}":{same.get(key, value)}' for key, value in _KEYS)
    return re.compile(rf'^\{{"v":{VERSION},"type":"sample",{keys},"cards":\[\]\}}\n', re.MULTILINE | re.ASCII)


_LINE = _pattern({})


@lru_cache(maxsize=64)
def _like(same: tuple[str, ...]) -> re.Pattern[str]:
    """Of lines that have these texts in the fields of `_SAME`: half as long to read."""
    quoted = (f'"{text}"' if name in ("host", "unit") else text for name, text in zip(_SAME, same))
    return _pattern(dict(zip(_SAME, map(re.escape, quoted))))


def step_lines(block: bytes) -> Iterator[StepLine] | None:
    """`block`: whole lines, the newline of the last one included."""
    try:
        text = str(block, "ascii")
    except UnicodeDecodeError:
        return None
    first, lines = _LINE.match(text), text.count("\n")
    if first is None:
        return None
    same = tuple(map(first.groups().__getitem__, _SAME_PLACES))
    rows = _like(same).findall(text)
    columns: list[tuple[str, ...]]
    if len(rows) == lines:
        columns = list(zip(*rows))
        for place, value in zip(_SAME_PLACES, same):
            columns.insert(place, (value,))
    else:
        rows = _LINE.findall(text)
        if len(rows) != lines:
            return None
        columns = list(zip(*rows))
    (
        step, epoch, time, host, member, rank, generation, batch, loss, compute, wait, ms, mem, step_batch, gain, saved,
        share, unit, units,
    ) = columns  # fmt: skip
    if any(clean(one) != one for one in {*host, *unit}):
        return None
    values = zip(
        map(int, step), _wholes(epoch), map(float, time), _texts(host), _wholes(member), _wholes(rank),
        _wholes(generation), _wholes(batch), _figures(loss), map(float, compute), map(float, wait), map(float, ms),
        _figures(mem), _wholes(step_batch), _figures(gain), _figures(saved), _wholes(share), _texts(unit),
        _wholes(units),
    )  # fmt: skip
    return map(tuple.__new__, repeat(StepLine), values)


def _texts(texts: tuple[str, ...]) -> Iterable[str]:
    return repeat(texts[0]) if len(texts) == 1 else texts


def _wholes(texts: tuple[str, ...]) -> Iterable[int | None]:
    """Of a few values that come again and again, mostly of one."""
    known = {text: None if text == "null" else int(text) for text in set(texts)}
    return repeat(known[texts[0]]) if len(known) == 1 else map(known.__getitem__, texts)


def _figures(texts: tuple[str, ...]) -> Iterable[float | None]:
    if "null" not in texts:
        return map(float, texts)
    known = {text: None if text == "null" else float(text) for text in set(texts)}
    return repeat(None) if len(known) == 1 else map(known.__getitem__, texts)

"""The lines of ranks read by blocks: a long run has hundreds of thousands, and a report takes a few figures of each.

What is read is what `remote.experiment.records.record_of` makes of the lines, or None: then each of them has to be
looked at as any other. A line is taken here only if it has nothing but what `wire.Sample` has, its numbers are within
bounds that need no second look, and its texts may be shown as they are.

    >>> [line.step for line in step_lines(encode(first) + encode(second)) or ()]
    [1, 2]
    >>> step_lines(b"torn") is None
    True
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from motley.remote.sanitize import clean
from motley.trainer.contract.wire import LATEST

_Whole = Annotated[int, Meta(gt=-(2**62), lt=2**62)]
_Figure = Annotated[float, Meta(gt=-1e15, lt=1e15)]  # where whole numbers are floats as well
_Time = Annotated[float, Meta(ge=0, lt=LATEST)]


class _Card(msgspec.Struct, gc=False, frozen=True, forbid_unknown_fields=True):
    mib: _Figure | None = None
    util: _Figure | None = None


class StepLine(msgspec.Struct, gc=False, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """As `wire.Sample` has them, with its units; numbers that are no whole ones are floats."""

    v: Literal[1]
    type: Literal["sample"]
    seq: _Whole
    step: _Whole
    epoch: _Whole
    time: _Time
    host: str
    member: _Whole
    rank: _Whole
    generation: _Whole
    batch: _Whole
    loss: _Figure | None
    compute_ms: _Figure
    wait_ms: _Figure
    data_ms: _Figure
    step_ms: _Figure
    samples_per_s: _Figure
    mem_mib: _Figure | None = None
    gpu_util: _Figure | None = None
    step_batch: _Whole | None = None
    gain: _Figure | None = None
    saved_s: _Figure | None = None
    share: _Whole | None = None
    unit: str = ""
    units: _Whole | None = None
    cards: tuple[_Card, ...] = ()


_DECODER = msgspec.json.Decoder(StepLine)


def step_lines(block: bytes) -> list[StepLine] | None:
    """`block`: whole lines, with or without the newline of the last one."""
    try:
        lines = list(map(_DECODER.decode, block.removesuffix(b"\n").split(b"\n")))
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    if any(clean(text) != text for text in {line.host for line in lines} | {line.unit for line in lines}):
        return None
    return lines

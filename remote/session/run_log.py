"""What `motley logs` shows: what happened, in order of time over all hosts, and what the ranks print. Pure.

    >>> rows_of([event, line])
    [LogRow(time=1700000000.0, host='box1', member=None, text='epoch 1: accuracy 91.20%, loss 0.3021'), LogRow(…)]

Events bear the time of their host, and so do lines that a rank has printed. Where a host did not note when that was,
as one with an older Motley, the lines follow, rank by rank.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from motley.remote.feed import LogLine
from motley.trainer.contract.wire import Event

LEFT_OUT = frozenset(  # too many, said elsewhere, or for programs
    {"phase", "waiting", "report", "realised", "fault", "checkpoint", "fingerprint"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRow:
    """One line. `time` in seconds since the epoch, None where it is not known; `member` is None of an event."""

    time: float | None
    host: str
    member: int | None
    text: str


def rows_of(records: Iterable[object], now: float | None = None) -> list[LogRow]:
    """Events and the ranks' lines in order of time, then, in the order they came in, the lines of which no time is
    known. `now`: when these were printed. A rank's lines stay in their order, also where its host's clock was set back.
    """
    timed: list[tuple[float, LogRow]] = []
    rest: list[LogRow] = []
    newest: dict[tuple[str, int], float] = {}
    for record in records:
        if isinstance(record, Event) and record.kind not in LEFT_OUT and record.text:
            text = record.text.splitlines()[0]
            timed.append((record.time, LogRow(time=record.time, host=record.host, member=None, text=text)))
        elif isinstance(record, LogLine):
            at = record.time if record.exact else now
            row = LogRow(time=at, host=record.host, member=record.member, text=record.text)
            if record.exact and at is not None:
                rank = record.host, record.member
                newest[rank] = max(at, newest.get(rank, at))
                timed.append((newest[rank], row))
            else:
                rest.append(row)
    return [row for _, row in sorted(timed, key=lambda item: item[0])] + rest


def text_of(row: LogRow) -> str:
    """`12:01:33  box1      epoch 1: accuracy 91.20%, loss 0.3021`; of a rank `          box1 #2   …`."""
    clock = "" if row.time is None else time.strftime("%H:%M:%S", time.localtime(row.time))
    who = row.host if row.member is None else f"{row.host} #{row.member}"
    return f"{clock:8}  {who:12}  {row.text}"

"""Before the first group: when to say who is missing, and when to give up. Pure.

>>> patience = Patience(began=0.0, limit_s=60.0)
>>> patience.look(2.0, [connection])           # rank 1 is still importing torch
'say'
>>> patience.look(62.0, [connection])          # and has not got further since
'give up'
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from motley.trainer.coordinator.members import MemberConnection

SAY_S, FIRST_S = 5.0, 1.0  # how often the same is said, and when first


class Patience:
    """Times are in seconds of the coordinator's clock."""

    def __init__(self, *, began: float, limit_s: float) -> None:
        self._began = began
        self._limit_s = limit_s
        self._said: tuple[Any, ...] = ()
        self._said_at = began

    def look(self, now: float, missing: Sequence[MemberConnection]) -> Literal["say", "give up"] | None:
        """`limit_s` counts from the last word of any of them."""
        if not missing:
            return None
        if now - max(connection.changed for connection in missing) > self._limit_s:
            return "give up"
        saying = tuple((connection.member.member, connection.phase) for connection in missing)
        if now - self._began > FIRST_S and (saying != self._said or now - self._said_at > SAY_S):
            self._said, self._said_at = saying, now
            return "say"
        return None

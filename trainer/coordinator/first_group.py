"""Until the first group is formed: who is still missing, and giving up when nobody gets any further.

The coordinator calls `look` a few times a second, and `give_up` when a rank ends before there was a group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from motley.trainer.coordinator.members import MemberConnection, missing_of, names_of
from motley.trainer.coordinator.summary import RunSummary
from motley.trainer.host.journal import Journal

RECALL_S = 5.0  # after its connection is gone a member that lives has called again
SAY_S, FIRST_S = 5.0, 1.0  # how often the same is said, and when first


class Patience:
    """When to say who is missing, and when to give up. Times are in seconds of the coordinator's clock; pure.

    >>> patience = Patience(began=0.0, limit_s=60.0)
    >>> patience.look(2.0, [connection])           # rank 1 is still importing torch
    'say'
    >>> patience.look(62.0, [connection])          # and has not got further since
    'give up'
    """

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


class FirstGroup:
    """`patience_s`: without progress of anybody. `over` is called once it has given up.

    `what`: in the words for a member that ended before it. `without` is for a run that goes on already: the first group
    is formed without this member.
    """

    def __init__(
        self,
        connections: Mapping[int, MemberConnection],
        ledger: RunSummary,
        journal: Journal,
        *,
        began: float,
        patience_s: float,
        over: Callable[[], Any],
        without: Callable[[int], None] | None = None,
        what: str = "the group was formed",
    ) -> None:
        self._connections = connections
        self._ledger = ledger
        self._journal = journal
        self._began = began
        self._patience_s = patience_s
        self._patience = Patience(began=began, limit_s=patience_s)
        self._over = over
        self._without = without
        self._what = what
        self.gave_up = False

    def look(self, now: float, missing: Sequence[int]) -> None:
        """Say who is missing; give up, or go on without them, when they get no further."""
        connections = [self._connections[m] for m in missing]
        gone = [one for one in connections if one.lost_at is not None and now - one.lost_at > RECALL_S]
        if gone:
            self.give_up(f"{gone[0].name} ended before {self._what}", now, missing)
        verdict = None if self.gave_up else self._patience.look(now, connections)
        if verdict == "say":
            text = "waiting for " + names_of(connections)
            self._journal.write("waiting", text, missing=missing_of(connections), waited_s=now - self._began)
        elif verdict == "give up" and self._without is not None:
            for member in missing:
                self._without(member)
        elif verdict == "give up":
            self.give_up(f"no progress for {self._patience_s:.0f} s (run.join_timeout_s)", now, missing)

    def give_up(self, why: str, now: float, missing: Sequence[int]) -> None:
        """Once: tell everybody who is missing, and why nobody waits any longer."""
        if self.gave_up:
            return
        self.gave_up = True
        for one in self._connections.values():
            if one.lost_at is not None:  # it would be told, and has nobody to say it to
                one.ended = one.ended or "failed"
        left = [self._connections[m] for m in missing if self._connections[m].ended is None]
        behind = [one for one in self._connections.values() if one.ended in ("failed", "lost")] or left
        self._end(f"gave up waiting for {names_of(behind)}: {why}", behind, now)

    def refuse(self, why: str, now: float) -> None:
        """Once: tell everybody why there will be no group."""
        if not self.gave_up:
            self.gave_up = True
            self._end(why, [], now)

    def _end(self, text: str, behind: Sequence[MemberConnection], now: float) -> None:
        self._journal.write("gave_up", text, "error", missing=missing_of(behind), waited_s=now - self._began)
        self._ledger.cause = text
        for connection in self._connections.values():
            connection.send(op="give_up", text=text)
        self._over()

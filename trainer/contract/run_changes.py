"""What changes about a run while it goes on: who leads it, who came to it, and which hosts were taken out.

The master sends both to hosts, which keep them beside `spec.json`.

    >>> Lead.from_table(json.loads(lead.to_json())) == lead
    True
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from motley.trainer.contract.spec import Member
from motley.trainer.contract.term import FIRST, Term
from motley.trainer.light_dataclass import light_dataclass


@light_dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """Who leads a run now, when it is not the host of the spec any more: see `trainer.host.leader`.

    `hosts`: those whose ranks are expected when the term begins; others may come later. `keepers`: those whose state
    the console named this leader for, when they are not `hosts` any more.
    """

    term: Term
    leader: str
    address: str  # numeric
    port: int  # of the coordinator
    hosts: tuple[str, ...]
    keepers: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> Lead:
        """Raises KeyError, TypeError or ValueError when it is none."""
        return cls(
            term=Term.of(table["term"]),
            leader=str(table["leader"]),
            address=str(table["address"]),
            port=_whole(table["port"]),
            hosts=tuple(map(str, table["hosts"])),
            keepers=tuple(map(str, table.get("keepers", ()))),
        )


@light_dataclass(frozen=True, slots=True, kw_only=True)
class Roll:
    """Who came to a run after its start, and which hosts were taken out of it: see `trainer.host.run_members`.

    Each change has a higher edition, and the term of the leader that made it.
    """

    term: Term = FIRST
    edition: int = 0
    added: tuple[Member, ...] = ()
    dropped: tuple[str, ...] = ()

    def members(self, first: Sequence[Member]) -> tuple[Member, ...]:
        """All that ever belonged to the run, by their numbers; `first`: those of a spec."""
        known = {m.member: m for m in (*first, *self.added)}
        return tuple(known[number] for number in sorted(known))

    def is_newer_than(self, other: Roll) -> bool:
        return (self.term, self.edition) > (other.term, other.edition)

    def to_table(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_table(cls, table: dict[str, Any]) -> Roll:
        """Raises KeyError, TypeError or ValueError when it is none."""
        return cls(
            term=Term.of(table["term"]),
            edition=_whole(table["edition"]),
            added=tuple(Member(**m) for m in table["added"]),
            dropped=tuple(map(str, table["dropped"])),
        )


def _whole(value: Any) -> int:
    """Raises TypeError or ValueError when it is no whole number of 64 bits."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"a {type(value).__name__} where a whole number belongs")
    if not -(2**63) < value < 2**63:
        raise ValueError("a number that is too large")
    return value

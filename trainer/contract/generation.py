"""One generation of a run's group, as the coordinator tells a member of it.

>>> Group.of({"generation": 0, "rank": 1, "members": [0, 1], "store": ["10.0.0.1", 4711], …}).world_size
2
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from motley.trainer.contract.run_changes import Roll
from motley.trainer.contract.term import FIRST, Term
from motley.trainer.light_dataclass import light_dataclass


@light_dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One generation as a member sees it. `store` is (address, port) of rank 0's TCPStore."""

    generation: int
    rank: int
    members: tuple[int, ...]  # their numbers, in rank order
    store: tuple[str, int]
    source: int = 0  # the rank with the newest state
    step: int = 0  # that it has completed
    term: Term = FIRST  # of the coordinator
    leader: str = ""  # its host
    attempt: int = 0  # the `ready` that this answers
    stale: bool = False  # this member's state is of a lower term, and does not count
    fits: Mapping[str, Any] = field(default_factory=dict)  # for rank 0: what the one before it knew of speeds
    roll: Roll = field(default_factory=Roll)  # who came after the start
    anew: bool = False  # of a script: sessions train already, and have the state

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Group:
        """As the coordinator sends it. Raises LookupError, TypeError or ValueError for one that can't be read."""
        address, port = message["store"]
        return cls(
            generation=int(message["generation"]),
            rank=int(message["rank"]),
            members=tuple(map(int, message["members"])),
            store=(str(address), int(port)),
            source=int(message["source"]),
            step=int(message["step"]),
            term=Term.of(message["term"]),
            leader=str(message.get("leader", "")),
            attempt=int(message["attempt"]),
            stale=bool(message["stale"]),
            fits=dict(message["fits"]),
            roll=Roll.from_table(message["roll"]) if message.get("roll") else Roll(),
            anew=message.get("anew") is True,
        )

    @property
    def world_size(self) -> int:
        return len(self.members)

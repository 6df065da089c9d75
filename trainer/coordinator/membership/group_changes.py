"""What a state machine is told of a member that is ready, and what it answers: news for the coordinator to act on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union

from motley.trainer.contract.term import NO_TERM, Term
from motley.trainer.contract.validate import name, whole
from motley.trainer.coordinator.membership.stale_state import State

Cause = Literal["lost", "stuck", "dropped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A member can join a group: the steps it has completed (-1: it has no state), where it would keep the store.

    `term`, `leader` and `generation` are those of the last group it was in, -1 before the first. `attempt` counts how
    often it was ready: what is said again over a new connection has the same number. `broke` is how its group broke,
    as it saw it.
    """

    step: int
    store: tuple[str, int]
    term: Term = NO_TERM
    leader: str = ""
    generation: int = -1
    attempt: int = 0
    broke: str = ""

    @property
    def state(self) -> State:
        return State(self.term, self.leader, self.generation, self.step)

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Ready:
        """Out of what the member sent. Raises KeyError, TypeError or ValueError when it is malformed."""
        address, port = message.get("store") or ("", 0)
        return cls(
            step=whole(message["step"]),
            store=(name(address), whole(port)),
            term=Term.of(message["term"]),
            leader=name(message.get("leader", "")),
            generation=whole(message["generation"]),
            attempt=whole(message["attempt"]),
            broke=name(message.get("broke", "")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Formed:
    """Tell `members`, in rank order, to join; `source` is the rank with the newest state, of `step` completed steps."""

    generation: int
    members: tuple[int, ...]
    store: tuple[str, int]
    source: int
    step: int
    stale: tuple[int, ...] = ()  # members whose state is of a lower term: they take the others'


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """Tell `members` to let go of the generation, to end its script: a collective there may never end."""

    generation: int
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """Tell rank 0 (a member) to let go at the end of a step: somebody wants to join."""

    member: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A member is no longer counted on."""

    member: int
    cause: Cause = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Too few hosts are left to go on, or nobody has a task's state. `keeper` has the newest, None when nobody has."""

    hosts: int
    keeper: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InVain:
    """Groups break before their first step although nobody is lost. `over`: none is formed any more."""

    groups: int  # in a row
    step: int
    keeper: int  # a member that has the newest state
    why: str  # in the words of the member that saw it first; empty when it was a silent one
    over: bool = False

    @property
    def text(self) -> str:
        said = f": {self.why}" if self.why else ""
        return f"the group broke {self.groups} times in a row at step {self.step}, though no rank was lost{said}"


News = Union[Formed, Broken, Boundary, Gone, Holding, InVain]

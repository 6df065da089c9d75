"""What the state machine of a task's groups and that of a script's restarts have in common. Pure.

`group_state_machine` and `restart_state_machine` say what follows from what happens; here is what both know of a
member, how a generation starts, what silence is, and the news that the coordinator has not taken yet.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from motley.trainer.coordinator.membership.group_changes import Cause, Holding, Ready

PAUSED_S = 0.5  # between two ticks: then it is the coordinator that was held up, and silence says nothing


@dataclass(slots=True)
class MemberState:
    """One member."""

    connected: bool = False
    ready: Ready | None = None
    heard: float = 0.0
    gone: Cause | None = None  # and not back yet
    attempt: int = -1  # of the readiness that brought it into the group


StateT = TypeVar("StateT", bound=MemberState)
NewsT = TypeVar("NewsT")


class BaseStateMachine(ABC, Generic[StateT, NewsT]):
    """Members by their numbers. Every method may add news; `take_news` hands them over in order."""

    def __init__(
        self, members: Mapping[int, StateT], *, hosts: Mapping[int, str], lost_after_s: float, least: int
    ) -> None:
        """`hosts`: where each member is, by default a host each; with fewer than `least` of them nothing runs."""
        self.members = dict(members)
        self.generation = -1
        self.group: tuple[int, ...] = ()
        self.running = False  # the generation is whole
        self._hosts = dict(hosts)
        self._lost_after_s = lost_after_s
        self._least = least
        self._first = True  # this coordinator has started none yet
        self._held = False
        self._ticked: float | None = None
        self._news: list[NewsT | Holding] = []

    @abstractmethod
    def connected(self, member: int, *, now: float) -> None:
        """It has called, perhaps once more: an older call of it is over."""

    def disconnected(self, member: int) -> None:
        """Its connection is gone, but it is still waited for."""
        self.members[member].connected, self.members[member].ready = False, None

    @abstractmethod
    def ready(self, member: int, ready: Ready, *, now: float) -> None:
        """It can be in the next generation."""

    @abstractmethod
    def tick(self, now: float) -> None:
        """Look at the clock, a few times a second."""

    @property
    def missing(self) -> list[int]:
        """Of the first group: who is not ready yet."""
        return [m for m, s in self.members.items() if self._first and s.ready is None and s.gone is None]

    def take_news(self) -> list[NewsT | Holding]:
        news, self._news = self._news, []
        return news

    def _said_before(self, member: int, ready: Ready) -> bool:
        """It was heard the first time, and is in the group."""
        return self.running and member in self.group and ready.attempt == self.members[member].attempt

    def _was_held_up(self, now: float) -> bool:
        """Whether this process did not run for a while, so that silence says nothing. Call it once a tick."""
        paused = self._ticked is not None and now - self._ticked > PAUSED_S
        self._ticked = now
        if paused:
            for state in self.members.values():
                state.heard = now
        return paused

    def _silent(self, now: float) -> list[int]:
        """Members of the group that are connected and were not heard for too long."""
        states = [(member, self.members[member]) for member in self.group]
        return [member for member, state in states if state.connected and now - state.heard > self._lost_after_s]

    def _ready_members(self) -> list[int]:
        return sorted(m for m, state in self.members.items() if state.ready is not None and state.connected)

    def _hosts_of(self, members: Iterable[int]) -> int:
        return len({self._hosts.get(m, m) for m in members})

    def _hold(self, hosts: int, keeper: int | None = None) -> None:
        """Say once that too little is left to go on with."""
        if not self._held:
            self._held = True
            self._news.append(Holding(hosts=hosts, keeper=keeper))

    def _begin_generation(self, members: Iterable[int]) -> list[Ready]:
        """The next one, of these members: what each was ready with."""
        self.generation += 1
        self.group, self.running = tuple(members), True
        self._first = self._held = False
        readies = []
        for member in self.group:
            state = self.members[member]
            assert state.ready is not None
            readies.append(state.ready)
            state.attempt = state.ready.attempt
            state.gone, state.ready = None, None
        return readies

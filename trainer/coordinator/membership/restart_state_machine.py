"""When a script is started and when it is over, as a pure state machine: fed by the coordinator, it says what to do.

    >>> machine = RestartStateMachine({0: "box1", 1: "box2"}, lost_after_s=1.5, restarts=3)
    >>> machine.connected(0, now=0.0); machine.ready(0, Ready(step=0, store=("10.0.0.1", 29500)), now=0.0)
    >>> machine.connected(1, now=0.1); machine.ready(1, Ready(step=0, store=("10.0.0.2", 29500)), now=0.1)
    >>> machine.take_news()
    [Started(generation=0, members=(0, 1), store=('10.0.0.1', 29500))]

A script can't regroup: what it needs is in a process that is gone. So when a member is lost, or something kills a rank,
the script is ended everywhere and started anew with those that are left, under other ranks, at most `restarts` times.
Each start is a *generation*; its number is the count of restarts.

When a host dies, the scripts of the others often fail before anybody knows why. So an exit code is not believed at
once: only when `VERDICT_S` later nobody is missed was it that rank's own fault. Who is lost has `RETURN_S` to come
back before the next start: a process that was killed does, at once. Under a new coordinator so has everybody: whoever
named it may not have known yet of all that are left, and one who comes after a start waits for the next.

Nothing here reads a clock or a socket: times are arguments, in seconds of any one clock.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Union

from motley.trainer.contract.term import FIRST, Term
from motley.trainer.contract.wire import RunState
from motley.trainer.coordinator.membership.base_state_machine import BaseStateMachine, MemberState
from motley.trainer.coordinator.membership.group_changes import Broken, Gone, Holding, Ready

LATE_S = 60.0  # after the first rank has ended well, the others should have
VERDICT_S = 1.0  # beyond the time after which silence is a loss
RETURN_S = 3.0
FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})  # nobody sends them to itself


@dataclass(slots=True)
class ScriptMemberState(MemberState):
    """One member, and how its script ended."""

    code: int | None = None  # of this generation


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a script has to be started anew: a member was lost, or a signal ended its script."""

    member: int
    cause: Literal["lost", "killed"]
    signal: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Tell `members`, in rank order, to start the script; rank 0 is at `store`."""

    generation: int
    members: tuple[int, ...]
    store: tuple[str, int]
    why: tuple[Trouble, ...] = ()  # empty for the first start
    pause_s: float | None = None  # since the script before was broken off


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """The run is over. `root`: whose script failed by itself; `why`: the troubles that no restart is left for."""

    state: RunState
    root: int | None = None
    code: int = 0
    why: tuple[Trouble, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """The scripts of these members run on, `LATE_S` after the first has ended well. Said once a generation."""

    members: tuple[int, ...]


News = Union[Started, Broken, Gone, Holding, Late, Over]


class RestartStateMachine(BaseStateMachine[ScriptMemberState, News]):
    """Members by their numbers, with the host of each."""

    def __init__(
        self,
        hosts: Mapping[int, str],
        *,
        lost_after_s: float,
        restarts: int,
        least: int = 1,
        term: Term = FIRST,
        expected: Iterable[int] | None = None,
    ) -> None:
        """In a `term` above the first a new coordinator starts the script anew on the `expected` members."""
        there = set(hosts if expected is None else expected)
        states = {member: ScriptMemberState(gone=None if member in there else "lost") for member in hosts}
        super().__init__(states, hosts=hosts, lost_after_s=lost_after_s, least=least)
        self._restarts = restarts
        self._over = False
        self._takes_over = term > FIRST
        self._began_at: float | None = None  # when it was first told what time it is
        self._suspect: int | None = None  # the first that failed, as it seems by itself
        self._verdict_at = 0.0
        self._why: list[Trouble] = [Trouble(member=m, cause="lost") for m in hosts if term > FIRST and m not in there]
        self._ended_at: float | None = None  # the first rank, well; None again once it was said who is late
        self._broken_at: float | None = None  # None: under a former coordinator

    def connected(self, member: int, *, now: float) -> None:
        """It has called, perhaps once more: then its older call is over, and with it the script there."""
        self._note_began(now)
        state = self.members[member]
        if state.connected:
            self._let_go_by(member, now)
        state.connected, state.heard, state.ready = True, now, None

    def ready(self, member: int, ready: Ready, *, now: float) -> None:
        """It can start the script."""
        state = self.members[member]
        if self._said_before(member, ready):
            return
        self._let_go_by(member, now)
        if self._first:  # of those that have never been away nobody has known here
            self._why = [trouble for trouble in self._why if trouble.member != member]
        self.generation = max(self.generation, ready.generation)
        state.ready, state.heard, state.gone = ready, now, None
        self._start_if_possible(now)

    def beat(self, member: int, *, now: float) -> None:
        self.members[member].heard = now

    def exited(self, member: int, generation: int, code: int, *, now: float) -> None:
        """Its script has ended: 0 or another exit code, or minus the signal that ended it."""
        if not self.running or generation != self.generation or member not in self.group:
            return
        self.members[member].code = code
        if code == 0:
            if all(self.members[m].code != 0 for m in self.group if m != member):
                self._ended_at = now
            self._see_whether_finished()
        elif code < 0 and (-code in FROM_OUTSIDE or self._suspect is None):
            self._trouble(Trouble(member=member, cause="killed", signal=-code), now)
        elif self._suspect is None:
            self._suspect, self._verdict_at = member, now + self._lost_after_s + VERDICT_S

    def lost(self, member: int, *, now: float) -> None:
        """Its connection is gone."""
        state = self.members[member]
        state.connected, state.ready = False, None
        if self._over or state.gone is not None or (member not in self.group and not self._first):
            return
        if state.code != 0:  # else it has done its part
            state.gone = "lost"
            self._news.append(Gone(member=member))
            if self.running:
                self._let_go_by(member, now)
            else:
                self._why.append(Trouble(member=member, cause="lost"))
        self._start_if_possible(now)

    def tick(self, now: float) -> None:
        """Look at the clock, a few times a second: who is silent, who has failed, who may be started without whom."""
        self._note_began(now)
        if self._was_held_up(now):
            return
        for member in self._silent(now):
            self.lost(member, now=now)
        if self.running and self._suspect is not None and now >= self._verdict_at:
            self._end(Over(state="failed", root=self._suspect, code=self.members[self._suspect].code or 0))
        if self.running and self._ended_at is not None and now - self._ended_at >= LATE_S:
            self._ended_at = None
            self._news.append(Late(members=tuple(m for m in self.group if self.members[m].code is None)))
        self._start_if_possible(now)

    def _note_began(self, now: float) -> None:
        if self._began_at is None:
            self._began_at = now

    def _let_go_by(self, member: int, now: float) -> None:
        """It is known that the script does not run there any more."""
        if self.running and member in self.group and self.members[member].code != 0:
            self._trouble(Trouble(member=member, cause="lost"), now)

    def _trouble(self, trouble: Trouble, now: float) -> None:
        """The script can't go on."""
        self._why.append(trouble)
        self.running, self._suspect, self._broken_at = False, None, now
        if self.generation >= self._restarts:
            self._end(Over(state="failed", why=tuple(self._why)))
            return
        there = tuple(m for m in self.group if self.members[m].connected)
        self._news.append(Broken(generation=self.generation, members=there))

    def _see_whether_finished(self) -> None:
        if all(self.members[m].code == 0 for m in self.group):
            self._end(Over(state="finished"))

    def _end(self, over: Over) -> None:
        if not self._over:
            self._over, self.running = True, False
            self._news.append(over)

    def _start_if_possible(self, now: float) -> None:
        """The next start, once everybody who is left is ready, and who was lost has had the time to come back."""
        if self.running or self._over:
            return
        if self._first:
            if self.missing or (self._takes_over and self._may_return(self.members, now - (self._began_at or 0.0))):
                return
        else:
            if any(self.members[m].connected and self.members[m].ready is None for m in self.group):
                return
            if self._may_return(self.group, now - (self._broken_at or 0.0)):
                return
        members = self._ready_members()
        hosts = self._hosts_of(members)
        if hosts < self._least or not members:
            self._hold(hosts)
        elif self.generation >= self._restarts:
            self._end(Over(state="failed", why=tuple(self._why)))
        else:
            self._start(members, now)

    def _may_return(self, members: Iterable[int], waited_s: float) -> bool:
        """Whether one of them is not there, and has been waited for less than it may take to come back."""
        return waited_s < RETURN_S and any(self.members[m].ready is None for m in members)

    def _start(self, members: Sequence[int], now: float) -> None:
        readies = self._begin_generation(members)
        self._suspect = self._ended_at = None
        for member in members:
            self.members[member].code = None
        why, self._why = tuple(self._why), []
        pause_s = None if self._broken_at is None else now - self._broken_at
        self._news.append(
            Started(generation=self.generation, members=self.group, store=readies[0].store, why=why, pause_s=pause_s)
        )

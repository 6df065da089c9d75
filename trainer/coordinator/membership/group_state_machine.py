"""Who is in the group, as a pure state machine: the coordinator feeds it what happens, it answers what to send.

    >>> machine = GroupStateMachine([0, 1, 2], lost_after_s=1.5)
    >>> machine.ready(0, Ready(step=0, store=("10.0.0.1", 4711)), now=3.0)
    >>> machine.take_news()
    [Formed(generation=0, members=(0, 1, 2), source=0)]

A group is a *generation*: an ordered list of members, the lowest number first. It breaks when a member is lost (its
process or its host went, it fell silent, it is stuck), or when one of them says that a collective failed. Then all
others are told to let go of it, each says how many steps it has completed, and the next generation starts from the
newest state. Whoever comes (back) waits for the end of a step, at which rank 0 lets go on purpose.

Nothing here reads a clock or a socket: times are arguments, in seconds of any one clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from motley.trainer.contract.term import FIRST, Term
from motley.trainer.coordinator.membership.base_state_machine import BaseStateMachine, MemberState
from motley.trainer.coordinator.membership.group_changes import (
    Boundary,
    Broken,
    Cause,
    Formed,
    Gone,
    InVain,
    News,
    Ready,
)
from motley.trainer.coordinator.membership.stale_state import State, counts, origin_of
from motley.trainer.coordinator.membership.vain_groups import AT_ONCE, VainGroups

HOPE_S = 1.0  # that the first group of a new coordinator waits for those that it need not wait for


@dataclass(slots=True)
class GroupMemberState(MemberState):
    """One member, and how far it has come."""

    step: int = -1  # completed, as far as it has said
    arrived: int = -1  # the step whose gradients it has handed over
    stage: int = 0  # of the end of an epoch that follows it: how far it has come there
    moves: int = 0  # how often it has said that it is at work on it
    moved: float = 0.0  # when it last came further, or said that it is at work
    over: bool = False  # it has said its last word
    stale: bool = False  # what it was ready with is of a lower term

    @property
    def place(self) -> tuple[int, int]:
        """Where it has come to: whoever is behind is waited for by the others."""
        return self.arrived, self.stage


class GroupStateMachine(BaseStateMachine[GroupMemberState, News]):
    """Members by their numbers. Every method may add news; `take_news` hands them over in order."""

    def __init__(
        self,
        members: Iterable[int],
        *,
        lost_after_s: float,
        stuck_after_s: float = 60.0,
        hold_s: float = 120.0,
        hosts: Mapping[int, str] | None = None,
        least: int = 1,
        term: Term = FIRST,
        leader: str = "",
        expected: Iterable[int] | None = None,
        keepers: Iterable[int] | None = None,
    ) -> None:
        """`hosts`: where each member is, by default a host each; fewer than `least` of them do not train. `hold_s`: how
        long groups that break before their first step are formed again, and ten times at least.

        In a `term` above the first the run goes on under a new coordinator, of the host `leader`: the first group is of
        the `expected` members, and the state of the `keepers` counts (`stale_state`), by default theirs. The others
        have `HOPE_S` to come with them.
        """
        there = set(members if expected is None else expected)
        states = {member: GroupMemberState(gone=None if member in there else "lost") for member in members}
        super().__init__(states, hosts=hosts or {}, lost_after_s=lost_after_s, least=least)
        self.term = term
        self._leader = leader
        self._keepers = there if keepers is None else set(keepers)
        self._expected = there
        self._hoped = [member for member in self.members if member not in there] if term > FIRST else []
        self._origin: State | None = None  # what the first group went on from
        self._began: float | None = None
        self._stuck_after_s = stuck_after_s
        self._vain = VainGroups(bound_s=hold_s)
        self._why = ""  # the newest group broke, in the words of the member that saw it first
        self._now = 0.0  # the newest time that anybody has told
        self._asked = False  # rank 0 was told of somebody who waits
        self._later: set[int] = set()  # who may come before there is a group, and is not part of the first one

    @property
    def missing(self) -> list[int]:
        return [member for member in super().missing if not self.members[member].over]

    @property
    def awaiting(self) -> bool:
        """The first group is not formed yet."""
        return self._first

    def admit(self, member: int, host: str) -> None:
        """Somebody new may join; nobody waits for it."""
        self.members[member] = GroupMemberState(gone="lost")
        self._hosts[member] = host
        if self.generation < 0:
            self._later.add(member)

    def connected(self, member: int, *, now: float) -> None:
        state = self.members.setdefault(member, GroupMemberState())
        if state.connected and member in self.group and self.running:
            self._break()  # it let go of the group before it called
        state.connected, state.heard, state.over = True, now, False
        state.ready = None

    def ready(self, member: int, ready: Ready, *, now: float) -> None:
        state, self._now = self.members[member], now
        if self._said_before(member, ready):
            return
        lower = FIRST <= ready.term < self.term
        state.stale = lower and self._origin is not None and not counts(ready.state, self._origin)
        if state.stale:
            ready = replace(ready, step=-1)
        self.generation = max(self.generation, ready.generation)
        state.ready, state.heard, state.step = ready, now, ready.step
        if member in self.group and self.running:
            self._why = ready.broke  # the others, who are told to let go, see the consequence
            self._break()
        elif self.running and not self._asked:
            self._asked = True
            self._news.append(Boundary(member=self.group[0]))
        self._form()

    def beat(self, member: int, *, step: int, arrived: int, now: float, stage: int = 0, moves: int = 0) -> None:
        """A sign of life, with how far it is. A member that others wait for must get further than when they formed."""
        state = self.members[member]
        state.heard = now
        if (arrived, stage) > state.place or moves > state.moves:
            state.moved = now
        state.step, state.moves = max(state.step, step), max(state.moves, moves)
        state.arrived, state.stage = max(state.place, (arrived, stage))

    def lost(self, member: int, cause: Cause = "lost") -> None:
        """Its connection is gone, or it is taken out for another cause."""
        state = self.members[member]
        state.connected, state.ready = False, None
        if member not in self.group and not self._first:
            return
        if state.gone is None:
            state.gone = cause
            self._news.append(Gone(member=member, cause=cause))
            self._vain.forget()
        if member in self.group and self.running:
            self._break()
        self._form()

    def ended(self, member: int) -> None:
        """Its last word: it leaves a group that is about to end as a whole."""
        self.members[member].over = True

    def tick(self, now: float) -> None:
        """Look for members that fell silent or are stuck; a few times a second."""
        self._now = now
        if self._began is None:
            self._began = now
        if self._was_held_up(now):
            for state in self.members.values():
                state.moved = now
            return
        for member in self._silent(now):
            if not self.members[member].over:
                self.lost(member)
        if self.running:
            self._look_for_stuck(now)
        elif self._first or self._vain.groups:  # the hope may be over, or a pause
            self._form()

    def _look_for_stuck(self, now: float) -> None:
        states = {m: state for m in self.group if not (state := self.members[m]).over}
        furthest = max((s.place for s in states.values()), default=(-1, 0))
        behind = [m for m, s in states.items() if s.place < furthest]
        if not behind:
            return
        waiting_since = min(s.moved for s in states.values() if s.place == furthest)
        for member in behind:
            if now - max(waiting_since, states[member].moved) > self._stuck_after_s:
                self.lost(member, "stuck")

    def _break(self) -> None:
        self.running = False
        for member in self.group:
            state = self.members[member]
            if state.gone is None and state.ready is not None and state.ready.step < state.step - 1:
                state.ready = None  # of an earlier time
        self._news.append(Broken(generation=self.generation, members=self._left()))

    def _left(self) -> tuple[int, ...]:
        return tuple(m for m in self.group if self.members[m].gone is None and not self.members[m].over)

    def _form(self) -> None:
        """The next generation, once everybody who is left is ready."""
        if self.running:
            return
        waited_for = [state for m, state in self.members.items() if self._first or m in self.group]
        if any(state.ready is None for state in waited_for if state.gone is None and not state.over):
            return
        if self._first and self._hopes():
            return
        if self._first:
            self._discard()
        not_yet = self._later if self.generation < 0 else ()
        members = [m for m in self._ready_members() if m not in not_yet]
        newest = max((state.ready.step for state in self.members.values() if state.ready is not None), default=-1)
        hosts = self._hosts_of(members)
        if hosts < self._least or not members or (newest < 0 and not self._may_begin(members)):
            self._hold(hosts, keeper=next((m for m in members if newest >= 0 and self._step_of(m) == newest), None))
            return
        if not self._first and self._in_vain(members, newest):
            return
        self._start(members)

    def _in_vain(self, members: Sequence[int], step: int) -> bool:
        """Whether the next group is not formed yet, or no more, since the same one broke before its first step."""
        before = self._vain.groups
        wait_s = self._vain.wait(tuple(members), step=step, generation=self.generation, now=self._now)
        over = self._vain.enough(self._now)
        if over or (before <= AT_ONCE < self._vain.groups):
            keeper = next(m for m in members if self._step_of(m) == step)
            self._news.append(InVain(groups=self._vain.groups, step=step, keeper=keeper, why=self._why, over=over))
        return over or wait_s > 0

    def _may_begin(self, members: Sequence[int]) -> bool:
        """Whether a group without any state is the run's first. Under a new coordinator only of all that were there: of
        some, the others may have finished meanwhile, or have the state."""
        return self._first and (self.term == FIRST or self._expected <= set(members))

    def _hopes(self) -> bool:
        """Whether somebody may still come who was not told in time that the coordinator is another one."""
        if all(self.members[m].ready is not None for m in self._hoped):
            return False
        return self._began is None or self._now - self._began < HOPE_S

    def _discard(self) -> None:
        """What is not of the line that the first group goes on from does not count."""
        readies = {member: state.ready for member, state in self.members.items() if state.ready is not None}
        origin = self._origin = origin_of(
            self.term,
            self._leader,
            trusted=[ready.state for member, ready in readies.items() if member in self._keepers],
            others=[ready.state for member, ready in readies.items() if member not in self._keepers],
        )
        for member, ready in readies.items():
            if origin is not None and FIRST <= ready.term < self.term and not counts(ready.state, origin):
                state = self.members[member]
                state.stale, state.ready, state.step = True, replace(ready, step=-1), -1

    def _step_of(self, member: int) -> int:
        ready = self.members[member].ready
        return -1 if ready is None else ready.step

    def _start(self, members: Sequence[int]) -> None:
        readies = self._begin_generation(members)
        steps = [ready.step for ready in readies]
        self._vain.formed(self.group, step=max(steps))
        self._why = ""
        self._asked = False
        for member in members:
            state = self.members[member]
            state.step = state.arrived = max(steps)
            state.stage = state.moves = 0
            state.moved = self._now
        self._news.append(
            Formed(
                generation=self.generation,
                members=self.group,
                store=readies[0].store,
                source=steps.index(max(steps)),
                step=max(steps),
                stale=tuple(m for m in members if self.members[m].stale),
            )
        )
        if self._ready_members():  # of those that come later
            self._asked = True
            self._news.append(Boundary(member=self.group[0]))

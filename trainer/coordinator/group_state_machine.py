"""Who is in the group, as a pure state machine: the coordinator feeds it what happens, it answers what to send.

    >>> roster = Roster([0, 1, 2], lost_after_s=1.5)
    >>> roster.ready(0, Ready(step=0, store=("10.0.0.1", 4711)), now=3.0)
    >>> roster.take_news()
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

from trainer.lineage import State, counts, origin_of
from trainer.news import Boundary, Broken, Cause, Formed, Gone, Holding, News, Ready

HOPE_S = 1.0  # that the first group of a new coordinator waits for those that it need not wait for
PAUSED_S = 0.5  # between two ticks: then it is the coordinator that was held up, and silence says nothing


@dataclass(slots=True)
class Seat:
    """One member."""

    connected: bool = False
    ready: Ready | None = None
    step: int = -1  # completed, as far as it has said
    arrived: int = -1  # the step whose gradients it has handed over
    heard: float = 0.0
    moved: float = 0.0  # when `arrived` last grew
    gone: Cause | None = None  # and not back yet
    over: bool = False  # it has said its last word
    stale: bool = False  # what it was ready with is of a lower term
    attempt: int = -1  # of the readiness that brought it into the group


class Roster:
    """Members by their numbers. Every method may add news; `take_news` hands them over in order."""

    def __init__(
        self,
        members: Iterable[int],
        *,
        lost_after_s: float,
        stuck_after_s: float = 60.0,
        hosts: Mapping[int, str] | None = None,
        least: int = 1,
        term: int = 0,
        expected: Iterable[int] | None = None,
    ) -> None:
        """`hosts`: where each member is, by default a host each; fewer than `least` of them do not train.

        In a `term` above 0 the run goes on under a new coordinator: the first group is of the `expected` members, and
        theirs is the state that counts (`trainer.lineage`). The others have `HOPE_S` to come with them.
        """
        there = set(members if expected is None else expected)
        self.seats = {member: Seat(gone=None if member in there else "lost") for member in members}
        self.term = term
        self.generation = -1
        self.group: tuple[int, ...] = ()
        self.training = False  # the generation is whole
        self._first = True
        self._hoped = [member for member in self.seats if member not in there] if term else []
        self._origin: State | None = None  # what the first group went on from
        self._began: float | None = None
        self._lost_after_s = lost_after_s
        self._stuck_after_s = stuck_after_s
        self._hosts = dict(hosts or {})
        self._least = least
        self._ticked: float | None = None
        self._now = 0.0  # the newest time that anybody has told
        self._asked = False  # rank 0 was told of somebody who waits
        self._held = False
        self._later: set[int] = set()  # who may come before there is a group, and is not part of the first one
        self._news: list[News] = []

    def take_news(self) -> list[News]:
        news, self._news = self._news, []
        return news

    @property
    def missing(self) -> list[int]:
        """Of the first group: who is not ready yet."""
        seats = self.seats.items()
        return [m for m, s in seats if self._first and s.ready is None and not s.over and s.gone is None]

    @property
    def awaiting(self) -> bool:
        """The first group is not formed yet."""
        return self._first

    def admit(self, member: int, host: str) -> None:
        """Somebody new may join; nobody waits for it."""
        self.seats[member] = Seat(gone="lost")
        self._hosts[member] = host
        if self.generation < 0:
            self._later.add(member)

    def disconnected(self, member: int) -> None:
        """Its connection is gone, but it is still waited for."""
        self.seats[member].connected, self.seats[member].ready = False, None

    def connected(self, member: int, *, now: float) -> None:
        """It has called, perhaps once more: an older call of it is over."""
        seat = self.seats.setdefault(member, Seat())
        if seat.connected and member in self.group and self.training:
            self._break()  # it let go of the group before it called
        seat.connected, seat.heard, seat.over = True, now, False
        seat.ready = None

    def ready(self, member: int, ready: Ready, *, now: float) -> None:
        seat, self._now = self.seats[member], now
        if self.training and member in self.group and ready.attempt == seat.attempt:
            return  # said twice: it was heard the first time
        lower = 0 <= ready.term < self.term
        seat.stale = lower and self._origin is not None and not counts(ready.state, self._origin)
        if seat.stale:
            ready = replace(ready, step=-1)
        self.generation = max(self.generation, ready.generation)
        seat.ready, seat.heard, seat.step = ready, now, ready.step
        if member in self.group and self.training:
            self._break()
        elif self.training and not self._asked:
            self._asked = True
            self._news.append(Boundary(member=self.group[0]))
        self._form()

    def beat(self, member: int, *, step: int, arrived: int, now: float) -> None:
        """A sign of life, with how far it is. A member that others wait for must get further than when they formed."""
        seat = self.seats[member]
        seat.heard = now
        if arrived > seat.arrived:
            seat.moved = now
        seat.step, seat.arrived = max(seat.step, step), max(seat.arrived, arrived)

    def lost(self, member: int, cause: Cause = "lost") -> None:
        """Its connection is gone, or it is taken out for another cause."""
        seat = self.seats[member]
        seat.connected, seat.ready = False, None
        if member not in self.group and not self._first:
            return
        if seat.gone is None:
            seat.gone = cause
            self._news.append(Gone(member=member, cause=cause))
        if member in self.group and self.training:
            self._break()
        self._form()

    def ended(self, member: int) -> None:
        """Its last word: it leaves a group that is about to end as a whole."""
        self.seats[member].over = True

    def tick(self, now: float) -> None:
        """Look for members that fell silent or are stuck; a few times a second."""
        self._now = now
        if self._began is None:
            self._began = now
        paused = self._ticked is not None and now - self._ticked > PAUSED_S
        self._ticked = now
        if paused:
            for seat in self.seats.values():
                seat.heard = seat.moved = now
            return
        for member in self.group:
            seat = self.seats[member]
            if seat.connected and not seat.over and now - seat.heard > self._lost_after_s:
                self.lost(member)
        if self.training:
            self._look_for_stuck(now)
        elif self._first:  # the hope may be over
            self._form()

    def _look_for_stuck(self, now: float) -> None:
        seats = {m: seat for m in self.group if not (seat := self.seats[m]).over}
        furthest = max((s.arrived for s in seats.values()), default=-1)
        behind = [m for m, s in seats.items() if s.arrived < furthest]
        if not behind:
            return
        waiting_since = min(s.moved for s in seats.values() if s.arrived == furthest)
        for member in behind:
            if now - max(waiting_since, seats[member].moved) > self._stuck_after_s:
                self.lost(member, "stuck")

    def _break(self) -> None:
        self.training = False
        for member in self.group:
            seat = self.seats[member]
            if seat.gone is None and seat.ready is not None and seat.ready.step < seat.step - 1:
                seat.ready = None  # of an earlier time
        self._news.append(Broken(generation=self.generation, members=self._left()))

    def _left(self) -> tuple[int, ...]:
        return tuple(m for m in self.group if self.seats[m].gone is None and not self.seats[m].over)

    def _form(self) -> None:
        """The next generation, once everybody who is left is ready."""
        if self.training:
            return
        waited_for = self.seats if self._first else self._left()
        if any(self.seats[m].ready is None for m in waited_for if self.seats[m].gone is None):
            return
        if self._first and self._hopes():
            return
        if self._first:
            self._discard()
        not_yet = self._later if self.generation < 0 else ()
        members = sorted(
            m for m, seat in self.seats.items() if seat.ready is not None and seat.connected and m not in not_yet
        )
        newest = max((seat.ready.step for seat in self.seats.values() if seat.ready is not None), default=-1)
        hosts = len({self._hosts.get(m, m) for m in members})
        if hosts < self._least or not members or (newest < 0 and not self._first):
            if not self._held:
                self._held = True
                keeper = next((m for m in members if newest >= 0 and self._step_of(m) == newest), None)
                self._news.append(Holding(hosts=hosts, keeper=keeper))
            return
        self._start(members)

    def _hopes(self) -> bool:
        """Whether somebody may still come who was not told in time that the coordinator is another one."""
        if all(self.seats[m].ready is not None for m in self._hoped):
            return False
        return self._began is None or self._now - self._began < HOPE_S

    def _discard(self) -> None:
        """What is not of the line that the first group goes on from does not count."""
        seats = [seat for seat in self.seats.values() if seat.ready is not None]
        origin = origin_of(
            trusted=[seat.ready.state for seat in seats if seat.ready is not None and seat.gone is None],
            others=[seat.ready.state for seat in seats if seat.ready is not None and seat.gone is not None],
        )
        for seat in seats:
            ready = seat.ready
            if ready is None or origin is None or seat.gone is None or not 0 <= ready.term < self.term:
                continue
            if not counts(ready.state, origin):
                seat.stale, seat.ready, seat.step = True, replace(ready, step=-1), -1

    def _step_of(self, member: int) -> int:
        ready = self.seats[member].ready
        return -1 if ready is None else ready.step

    def _start(self, members: Sequence[int]) -> None:
        readies = [self.seats[m].ready for m in members]
        steps = [ready.step for ready in readies if ready is not None]
        first = readies[0]
        assert first is not None
        self.generation += 1
        self.group, self.training = tuple(members), True
        if self._first:
            self._origin = max((ready.state for ready in readies if ready is not None), key=lambda state: state.step)
        self._first = self._asked = self._held = False
        for member in members:
            seat = self.seats[member]
            seat.attempt = seat.ready.attempt if seat.ready is not None else -1
            seat.gone, seat.ready = None, None
            seat.step = seat.arrived = max(steps)
            seat.moved = self._now
        self._news.append(
            Formed(
                generation=self.generation,
                members=self.group,
                store=first.store,
                source=steps.index(max(steps)),
                step=max(steps),
                stale=tuple(m for m in members if self.seats[m].stale),
            )
        )
        if any(seat.ready is not None and seat.connected for seat in self.seats.values()):  # of those that come later
            self._asked = True
            self._news.append(Boundary(member=self.group[0]))

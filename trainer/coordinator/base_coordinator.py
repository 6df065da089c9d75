"""What a coordinator does whatever its members train: serve them, look at the clock, keep the summary, say the end.

`trainer.coordinator.task_coordinator` is the one of a task, `trainer.coordinator.script_coordinator` that of a script.
Each tells its state machine what its members say (`connected`, `received`, `disconnected`: see
`trainer.coordinator.server`) and what time it is, and does what the state machine decides. What both do for any of its
decisions is here; `_do` has the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from motley.trainer.contract.handshake import answer_s
from motley.trainer.contract.spec import Member, Spec
from motley.trainer.contract.term import FIRST
from motley.trainer.contract.wire import Level, RunState
from motley.trainer.coordinator.first_group import FirstGroup
from motley.trainer.coordinator.members import MemberConnection, host_states, one_of_each_host, ranks, too_few
from motley.trainer.coordinator.membership.base_state_machine import BaseStateMachine
from motley.trainer.coordinator.membership.group_changes import Broken, Cause, Gone, Holding, Ready
from motley.trainer.coordinator.regroup_log import KnownPasts, RegroupLog
from motley.trainer.coordinator.server import CoordinatorServer
from motley.trainer.coordinator.summary import RunSummary
from motley.trainer.coordinator.summary_file import write_summary
from motley.trainer.host.journal import Journal
from motley.trainer.host.leader import lead_of

SUMMARY_S = 1.0
TICK_S = 0.1
REFORM_S = 3.0  # that a run which goes on under a new coordinator waits for those that were there

Machine = TypeVar("Machine", bound=BaseStateMachine[Any, Any])


class BaseCoordinator(ABC, Generic[Machine]):
    """Serves one run until it is over. `members` are all that belong to it; `dropped` hosts are not listened to."""

    FIRST_GROUP: ClassVar[str] = "the group was formed"
    ledger: RunSummary
    _machine: Machine  # of the kind of run, made with it

    def __init__(
        self,
        spec: Spec,
        folder: Path,
        members: Sequence[Member],
        *,
        dropped: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
        before: BaseCoordinator[Any] | None = None,
    ) -> None:
        """`before`: the one whose place this one takes; its journal and its summary go on."""
        now = clock()
        self.spec = spec
        self.ledger: RunSummary = (
            before.ledger if before else RunSummary.of(spec, received=time.time(), members=members)
        )
        self._folder = folder
        self._clock = clock
        self._lead = lead_of(folder, spec)
        self._journal: Journal = before._journal if before else Journal(folder, host=spec.host, source="coordinator")
        past = before._regroups.past() if before and before._led else None
        self._goes_on = self._lead.term > spec.term and past is None  # members come from a former coordinator's group
        self._connections = {m.member: MemberConnection(m, changed=now, dropped=m.host in dropped) for m in members}
        self._regroups: RegroupLog = RegroupLog({m.member: m.host for m in members}, past)
        self._pasts = KnownPasts()
        self._shared = 0  # of the changes of regroups: those that the hosts were told of
        self._led: bool = False  # a group was formed by this coordinator
        self._held_at: float | None = None
        self._beaten_at = 0.0
        self._stopping: bool = before is not None and before._stopping
        self._over = asyncio.Event()
        self._successor: BaseCoordinator[Any] | None = None  # takes this one's place
        self._server: CoordinatorServer | None = None  # None: it does not serve yet
        self._gathering = FirstGroup(
            self._connections, self.ledger, self._journal, began=now,
            patience_s=REFORM_S if self._goes_on else spec.options.join_timeout_s, over=self._gave_up,
            without=self._without if self._lead.term > FIRST and past is None else None, what=self.FIRST_GROUP,
        )  # fmt: skip

    async def run(self, listener: socket.socket) -> None:
        """Serve on the listening socket, and write the summary of the end state."""
        async with CoordinatorServer(listener, self.spec.token, self._journal, self) as server:
            serving: BaseCoordinator[Any] | None = self
            while serving is not None:
                serving = await serving._serve(server)

    async def _serve(self, server: CoordinatorServer) -> BaseCoordinator[Any] | None:
        """Until the run is over, or another one takes this one's place: returned."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop)
        self._server = server
        watch = asyncio.create_task(self._watch())
        watch.add_done_callback(lambda _: self._over.set())  # it has no end: what it failed with is raised below
        await self._over.wait()
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch
        if self._successor is None:
            state, text = self._end_state(), self.ledger.cause or "the run is over"
            self._write_summary(state)
            for connection in self._everybody():
                connection.send(op="over", text=text, state=self._end_for(connection, state))
        return self._successor

    def _everybody(self) -> list[MemberConnection]:
        """Who may be connected."""
        return list(self._connections.values())

    # What the server tells

    @property
    def callers(self) -> int:
        return len(self._everybody())

    def place(self, member: int, host: str, *, session: bool) -> MemberConnection | None:  # noqa: ARG002 - for scripts
        known = self._connections.get(member)
        if known is not None and known.member.host == host:
            return known
        self._journal.write("note", f"rank {member} on {host} does not belong to this run: it was refused", "warning")
        return None

    def connected(self, connection: MemberConnection) -> None:
        if connection.lost_at is not None:
            connection.lost_at, connection.phase = None, "connecting"
        self._machine.connected(connection.member.member, now=self._clock())
        self._act()

    def received(self, connection: MemberConnection, message: dict[str, Any]) -> None:
        member, now = connection.member.member, self._clock()
        connection.note(message, now)
        if message["op"] == "ready":
            ready = Ready.of(message)
            if not self._led and message.get("regroups") is not None:
                self._pasts.hear(member, ready, message["regroups"])
            self._machine.ready(member, ready, now=now)
        self._hear(connection, message, now)
        if message["op"] != "beat":  # of which nothing follows but with the clock
            self._act()

    @abstractmethod
    def _hear(self, connection: MemberConnection, message: dict[str, Any], now: float) -> None:
        """What a message means for this kind of run. Raises as `received` of `trainer.coordinator.server.Listener`."""

    @abstractmethod
    def disconnected(self, connection: MemberConnection) -> None: ...

    # What the state machine decides

    def _act(self) -> None:
        for news in self._machine.take_news():
            match news:
                case Broken(generation=generation, members=members):
                    for member in members:
                        self._connections[member].send(op="regroup", generation=generation)
                case Gone(member=member, cause=cause):
                    self._gone(self._connections[member], cause)
                case Holding():
                    self._holding(news)
                case _:
                    self._do(news)
        self.ledger.regroups = self._regroups.records()

    @abstractmethod
    def _do(self, news: Any) -> None:
        """What only this kind of run has: the start of a group, and how it may end."""

    @abstractmethod
    def _gone(self, connection: MemberConnection, cause: Cause) -> None: ...

    def _holding(self, news: Holding) -> None:
        self._hold(too_few(news.hosts, self.spec.elastic), news.hosts)

    def _leave_out(
        self, connection: MemberConnection, text: str, *, cause: Cause = "lost", step: int = 0, level: Level = "warning"
    ) -> None:
        """The group does without this member."""
        connection.close()  # it may be silent, or stuck
        connection.gone, connection.phase = True, "gone"
        member = connection.member
        self._journal.write("lost", text, level, member=member.member, host=member.host, cause=cause, step=step)

    def _begin_group(self, generation: int, members: Iterable[int]) -> list[MemberConnection]:
        """The members of the next group, in rank order."""
        self._held_at = None
        connections = [self._connections[m] for m in members]
        if generation == 0:
            for name in ("spawn_s", "import_s"):
                self.ledger.phases[name] = max(one.times.get(name, 0.0) for one in connections)
        return connections

    def _send_group(
        self,
        connections: Sequence[MemberConnection],
        text: str,
        *,
        generation: int,
        store: tuple[str, int],
        source: int = 0,
        step: int = 0,
        stale: Collection[int] = (),
        fits: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Tell each who is in the group and which rank it is, and the journal; `fits` is for rank 0."""
        members = [one.member.member for one in connections]
        for rank, connection in enumerate(connections):
            member = connection.member.member
            connection.ended, connection.gone = None, False
            connection.send(
                op="group", generation=generation, rank=rank, members=members, store=store, source=source, step=step,
                term=self._lead.term, leader=self.spec.host, attempt=self._machine.members[member].attempt,
                stale=member in stale, fits=(fits or {}) if rank == 0 else {}, **more,
            )  # fmt: skip
        self._journal.write(
            "group", text, generation=generation, world_size=len(connections), members=ranks(connections), step=step
        )

    # The clock, and ends

    def _tick(self, now: float) -> None:
        """A few times a second: see who fell silent, and do what follows."""
        self._machine.tick(now)
        self._act()

    @abstractmethod
    def _without(self, member: int) -> None:
        """The first group does not wait for this member any longer."""

    def _lost_before_first_group(self, connection: MemberConnection) -> None:
        """It may call again: on a busy machine a call is sometimes broken off. Whoever does not has ended."""
        connection.phase, connection.lost_at = "gone", self._clock()
        if self._gathering.gave_up:
            connection.ended = "failed"
        self._machine.disconnected(connection.member.member)

    def _give_up(self, why: str) -> None:
        self._gathering.give_up(why, self._clock(), self._machine.missing)

    @abstractmethod
    def _gave_up(self) -> None:
        """There will be no first group: everybody has been told."""

    @abstractmethod
    def _held_too_long(self, why: str) -> None:
        """The run is over: nothing was trained for `[elastic] hold_s`."""

    @abstractmethod
    def _end_state(self) -> RunState: ...

    @abstractmethod
    def _end_for(self, connection: MemberConnection, state: RunState) -> RunState:
        """What a member is told that the run's end is for it."""

    async def _watch(self) -> None:
        """Look at the clock: who is silent, who is missing, and is the summary fresh."""
        wrote_at = self._clock()
        while True:
            await asyncio.sleep(TICK_S)
            now = self._clock()
            self._tick(now)
            self._share_regroups()
            self._beat(now)
            if missing := self._machine.missing:
                self._gathering.look(now, missing)
                continue
            if now - wrote_at > SUMMARY_S:
                wrote_at = now
                self._write_summary("running")
            if self._held_at is not None and now - self._held_at > (hold_s := self.spec.elastic.hold_s):
                self._held_too_long(f"too few hosts for {hold_s:.0f} s (elastic.hold_s)")

    def _go_on_from_past(self, members: Iterable[int]) -> None:
        """Once, before the first group of this coordinator: the newest that those who are in it know."""
        if not self._led and (past := self._pasts.newest(members)) is not None:
            self._regroups.go_on_from(past)
        self._led = True

    def _share_regroups(self) -> None:
        """One rank of each host that takes part keeps them, in case that another coordinator follows."""
        if self._led and self._shared < self._regroups.changes:
            self._shared = self._regroups.changes
            table = self._regroups.past().to_table()
            for connection in one_of_each_host(self._connections.values()):
                connection.send(op="regroups", regroups=table)

    def _beat(self, now: float) -> None:
        """A sign of life to everybody, so that a rank knows that it is not cut off."""
        if now - self._beaten_at >= answer_s(self.callers):
            self._beaten_at = now
            for connection in self._everybody():
                connection.beat()

    def _hold(self, why: str, hosts: int) -> None:
        """Nobody trains until others come back."""
        self._held_at = self._clock()
        least, hold_s = self.spec.elastic.min_hosts, self.spec.elastic.hold_s
        text = f"{why}: waiting {hold_s:.0f} s for others to come back"
        self._journal.write("holding", text, "warning", hosts=hosts, least=least, hold_s=hold_s)

    def _stop(self) -> None:
        """The supervisor's TERM: its ranks have ended, the run was stopped."""
        self._stopping = True
        for connection in self._connections.values():
            connection.ended = connection.ended or "stopped"
        self._over.set()

    def _stop_asked(self) -> bool:
        """Ranks ended for a stop may be gone before its TERM comes here; the request is on the disk by then."""
        return self._stopping or (self._folder / "stop.json").exists()

    def _write_summary(self, state: RunState) -> None:
        write_summary(self._folder, self.ledger, state, host_states(self._connections, state), self._journal)

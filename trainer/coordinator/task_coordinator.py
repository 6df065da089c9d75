"""Who is in the group: a small TCP service on the leader. Standard library only; it outlives the ranks there.

Ranks call it before they import torch, say which phase they are in, and get the group once all are ready: their
rank, the world size, and where rank 0 keeps the TCPStore. While some are missing it says which and in which phase;
when none of them makes progress for `join_timeout_s` it gives up with their names. Once a group trains, a member that
is lost breaks it, and those that are left form the next one (`membership.group_state_machine` decides, this file
talks). Rank 0 reports every window of steps, from which `summary.json` is kept up to date.

How they speak to each other is in `trainer.coordinator.server`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from motley.trainer.contract import validate
from motley.trainer.contract.handshake import silence_s
from motley.trainer.contract.spec import Spec
from motley.trainer.contract.validate import name, whole
from motley.trainer.contract.wire import RunState
from motley.trainer.coordinator.admission import SHOWN_OUT, Admission, SameData
from motley.trainer.coordinator.base_coordinator import BaseCoordinator
from motley.trainer.coordinator.last_words import Finished, LastWords
from motley.trainer.coordinator.members import MemberConnection, end_state, somebody_finished, too_few
from motley.trainer.coordinator.membership.group_changes import Boundary, Cause, Formed, Holding, InVain, News
from motley.trainer.coordinator.membership.group_state_machine import GroupStateMachine
from motley.trainer.coordinator.regroup_log import Past
from motley.trainer.host.checkpoint_request import answered, asked
from motley.trainer.host.run_members import roll_of

GOODBYE_S = 5.0  # after a rank failed or did not come, the others have this long to say their last word


class TaskCoordinator(BaseCoordinator[GroupStateMachine]):
    """Serves one run until its members have ended."""

    def __init__(
        self,
        spec: Spec,
        folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        goodbye_s: float = GOODBYE_S,
        before: BaseCoordinator[Any] | None = None,
        expected: Collection[int] | None = None,
    ) -> None:
        """`expected`: the members of the first group, by default those of the hosts that took part when the term began.
        `before`: see `BaseCoordinator`."""
        roll, elastic = roll_of(folder), spec.elastic
        members = roll.members(spec.members)
        super().__init__(spec, folder, members, dropped=roll.dropped, clock=clock, before=before)
        self._goodbye_s = goodbye_s
        self._machine = GroupStateMachine(
            self._connections,
            lost_after_s=silence_s(len(members), elastic.lost_after_s),
            stuck_after_s=elastic.stuck_after_s,
            hold_s=elastic.hold_s,
            hosts={m.member: m.host for m in members},
            least=elastic.min_hosts,
            term=self._lead.term,
            leader=spec.host,
            expected=self._members_of(self._lead.hosts, roll.dropped) if expected is None else expected,
            keepers=self._members_of(self._lead.keepers or self._lead.hosts, roll.dropped),
        )
        self._last_words = LastWords(folder)
        self._before = Finished()  # what is known of members that had finished before this coordinator came
        if self._lead.term.restarts:  # the one before was killed on this host
            self._before = self._last_words.recall(self.ledger, self._connections, self._machine)
        self._same_data = SameData(self._connections, self._machine, self._journal)
        self._told = 0  # the generation whose regroup is in the journal
        self._ready_at: float | None = None
        self._failed = False  # a rank has: the run ends
        self._hopeless = False  # rank 0 has said why it fails: the others would fail as well
        self._asked: tuple[str, ...] = ()  # requests for a checkpoint that are known here
        self._unanswered: list[str] = []  # of these, what rank 0 has not written yet
        self._fits: dict[str, Any] = {}  # what rank 0 knows of every member's speed, for a rank 0 that follows it
        self._admission = Admission(
            spec, folder, roll, connections=self._connections, machine=self._machine, regroups=self._regroups,
            ledger=self.ledger, journal=self._journal,
        )  # fmt: skip

    def _members_of(self, hosts: Collection[str], dropped: Collection[str]) -> list[int]:
        members = [connection.member for connection in self._connections.values()]
        return [member.member for member in members if member.host in hosts and member.host not in dropped]

    # What the server tells

    def connected(self, connection: MemberConnection) -> None:
        if connection.dropped:
            self._show_out(connection)
        else:
            super().connected(connection)

    def received(self, connection: MemberConnection, message: dict[str, Any]) -> None:
        if message["op"] == "ready" and (why := self._same_data.refusal(connection, message.get("data"))) is not None:
            self._refuse(connection, why)  # before the first group all are told to leave
        else:
            super().received(connection, message)

    def _refuse(self, connection: MemberConnection, why: str) -> None:
        if self._machine.awaiting and not self._goes_on:
            self._gathering.refuse(why, self._clock())
            return
        self._journal.write("note", f"{why}. It can't join; the others go on", "warning")
        connection.send(op="over", text=why, state="failed")
        connection.close()

    def _hear(self, connection: MemberConnection, message: dict[str, Any], now: float) -> None:
        member = connection.member.member
        match message["op"]:
            case "ready":
                pass
            case "beat":
                step, arrived, stage, moves = (whole(message[key]) for key in ("step", "arrived", "stage", "moves"))
                self._machine.beat(member, step=step, arrived=arrived, stage=stage, moves=moves, now=now)
            case "phase":
                if self._goes_on and member in self._machine.missing:  # a new process: it comes when it can
                    self._without(member)
            case "joined":
                self._machine.beat(member, step=-1, arrived=-1, now=now)
                group = [self._connections[m] for m in self._machine.group]
                if self._ready_at is not None and all(one.phase == "training" for one in group):
                    self.ledger.phases.setdefault("rendezvous_s", now - self._ready_at)
                    self._ready_at = None
            case "report":
                self.ledger.take_report(message)
                self._hopeless = self._hopeless or "cause" in message
                self._fits = validate.table(message.get("fits") or {}) or self._fits
            case "checkpointed":
                done = {name(request) for request in message["requests"]}
                self._unanswered = [request for request in self._unanswered if request not in done]
                with contextlib.suppress(OSError):  # no room: another coordinator would have it answered once more
                    answered(self._folder, done)
            case "resumed":
                self._resumed(whole(message["generation"]), validate.figure(message["pause_s"]))
            case "ended":
                self._machine.ended(member)
                if message.get("regroups") is not None and not self._led:
                    self._before.regroups = Past.of(message["regroups"])
                if connection.ended == "finished":
                    self._keep_last_word(member)
                connection.send(op="heard")
            case other:
                raise ValueError(f"unknown message {validate.short(other)}")

    def _keep_last_word(self, member: int) -> None:
        """On the disk, before the member hears that it may go."""
        first = self._machine.group[:1] == (member,)
        if first:  # its figures are complete now
            self._write_summary("running")
        self._last_words.keep(member, regroups=self._regroups.past() if first else None, reason=self.ledger.reason)

    def disconnected(self, connection: MemberConnection) -> None:
        member, name = connection.member.member, connection.name
        self._admission.look(self._clock())  # it may have been asked to leave
        self._act()
        if connection.dropped or (connection.gone and connection.ended is not None):  # the group does not depend on it
            if connection.ended == "failed" and not connection.dropped:
                self._journal.write("note", f"{name} could not join: its log says why; the others go on", "warning")
        elif connection.ended is None and not self._stop_asked():
            connection.phase = "gone"
            if self._machine.awaiting and self._goes_on:  # it was there before this one: it calls again
                self._machine.disconnected(member)
            elif self._machine.missing and not connection.gone:
                self._lost_before_first_group(connection)
            else:
                self._machine.lost(member)
                self._act()
        elif connection.ended == "failed":
            self._failed = True
            self.ledger.cause = self.ledger.cause or f"{name} failed at step {self.ledger.steps}"
            if self._machine.missing:
                self._give_up(f"{name} ended before the group was formed")
            if self._hopeless:
                self._over.set()
            else:
                self._gave_up()
        elif connection.ended == "stopped" or self._stop_asked():
            connection.ended = "stopped"
            self._tell_of_stop()
        self._see_whether_over()

    def _see_whether_over(self) -> None:
        """The run is over when all members of the group have said so, or went and never came back."""
        group = self._machine.group or tuple(self._connections)
        connections = [self._connections[m] for m in group]
        left = [one for one in connections if not one.gone]
        if left and all(one.ended is not None and one.transport is None for one in left):
            self._all_over()

    def _all_over(self) -> None:
        if self._goes_on and not self._led and self._before.regroups is not None:
            self._regroups.go_on_from(self._before.regroups)
            self.ledger.regroups = self._regroups.records()
        self._over.set()

    # What the state machine decides

    def _do(self, news: News) -> None:
        match news:
            case Formed() if not self._failed:  # else it would train on for the moment that is left
                self._form(news)
            case Boundary(member=member):
                self._connections[member].send(op="boundary")
            case InVain(over=True):
                self._held_too_long(f"{news.text}. motley run --resume {self.spec.run} goes on from what was saved")
            case InVain(text=text, keeper=keeper):
                self._connections[keeper].send(op="save")
                self._journal.write("note", f"{text}. Tried for {self.spec.elastic.hold_s:.0f} s at least", "warning")

    def _holding(self, news: Holding) -> None:
        """Nobody trains until others come back; meanwhile the state is safe on a disk."""
        if news.keeper is None and somebody_finished(self._connections.values()):
            for one in self._connections.values():  # who is left came too late, in a process without the run's state
                one.gone = one.ended is None
            self._all_over()
            return
        if news.keeper is not None:
            why = too_few(news.hosts, self.spec.elastic)
            self._connections[news.keeper].send(op="save")
        else:
            why = "no rank that is left has the run's state"
            hosts = {connection.member.host for connection in self._connections.values()}
            if hosts == {self.spec.leader}:  # nobody can come back
                self.ledger.cause = f"{why}: motley run --resume {self.spec.run} goes on from its last checkpoint"
                self._over.set()
        self._hold(why, news.hosts)

    def _resumed(self, generation: int, pause_s: float) -> None:
        """A rank has made the first step of a generation."""
        self._regroups.resumed(generation, pause_s)
        self.ledger.regroups = self._regroups.records()
        if generation > self._told and (text := self._regroups.told(generation)):
            self._told = generation
            self._journal.write("regrouped", text, generation=generation, pause_s=pause_s)

    def _form(self, news: Formed) -> None:
        first = news.generation == 0
        connections = self._begin_group(news.generation, news.members)
        if first:
            self._ready_at = self._clock()
        elif not self._led:
            self._go_on_from_past(member for member in news.members if member not in news.stale)
            self._regroups.taken_over(news.members, self.spec.host, news.step, dropped=self._admission.roll.dropped)
        self._led = True
        for one in self._connections.values():  # who did not come to a new coordinator may yet
            one.gone = one.gone or one.member.member not in news.members
        self._regroups.formed(news.generation, news.members, news.step)
        roll = self._admission.roll
        count = f"{len(connections)} rank{'s' * (len(connections) != 1)}"
        self._send_group(
            connections,
            f"all {count} are ready" if first else f"going on from step {news.step} with {count}",
            generation=news.generation,
            store=news.store,
            source=news.source,
            step=news.step,
            stale=news.stale,
            fits=self._fits,
            roll=roll.to_table() if roll.edition else None,
        )
        self._ask_for_checkpoint(self._unanswered)

    def _ask_for_checkpoint(self, requests: Sequence[str]) -> None:
        """Rank 0 writes it at the end of its step; a rank 0 to come hears of it with its group."""
        if requests and self._machine.group:
            self._connections[self._machine.group[0]].send(op="checkpoint", requests=requests)

    def _gone(self, connection: MemberConnection, cause: Cause) -> None:
        if connection.dropped:
            self._show_out(connection)
        elif self._goes_on and somebody_finished(self._connections.values()):
            connection.send(op="over", text="the run has finished", state="finished")
        step = max(state.step for state in self._machine.members.values())
        self._regroups.gone(connection.member.member, cause, step)
        how = {"lost": "was lost", "stuck": "makes no progress", "dropped": "is taken out"}[cause]
        text = f"{connection.name} {how} at step {step}; the others go on"
        self._leave_out(connection, text, cause=cause, step=step, level="info" if cause == "dropped" else "warning")

    def _show_out(self, connection: MemberConnection) -> None:
        connection.send(op="over", text=SHOWN_OUT, state="stopped")
        connection.close()

    def _tick(self, now: float) -> None:
        self._admission.look(now)
        known, self._asked = self._asked, asked(self._folder)
        new = [request for request in self._asked if request not in known]
        self._unanswered += new
        self._ask_for_checkpoint(new)
        super()._tick(now)
        if self._goes_on and self._machine.awaiting:
            self._see_whether_over()

    def _without(self, member: int) -> None:
        self._machine.lost(member)
        self._act()

    def _gave_up(self) -> None:
        """A rank failed, or did not come: the others have a moment to say their last word."""
        asyncio.get_running_loop().call_later(self._goodbye_s, self._over.set)

    def _held_too_long(self, why: str) -> None:
        self.ledger.cause = why
        self._over.set()

    def _end_state(self) -> RunState:
        return end_state(self._connections.values(), stopped=self._stop_asked())

    def _end_for(self, connection: MemberConnection, state: RunState) -> RunState:  # noqa: ARG002 - the same for all
        return state

    def _tell_of_stop(self) -> None:
        """Others may hang in a collective with a rank that has left for the stop."""
        for connection in self._connections.values():
            connection.send(op="over", text="the run is being stopped", state="stopped")

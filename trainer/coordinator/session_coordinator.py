"""The coordinator of a run whose script calls `motley.session()`: that of a task, and besides the scripts' parents.

A script's run begins under a `trainer.coordinator.script_coordinator`. The first process of a script that calls
as a session makes it hand over to this one, on the same socket, with the same journal and summary. From then on the
members of the group are the sessions, which say what the ranks of a task say and regroup as they do.

The process that has started a script (`trainer.rank.script_rank`, here its *parent*) calls for the same member, on a
connection of its own, until its script is a session: then it hears `{"op": "session"}` and hangs up. A parent that
calls later, of a host that joins or of a rank that is started again, is told at once to start its script; one that
comes when a group was formed already is told so with it (`anew`), and the script gets its state from the others.

Whose script has not called yet, while others wait, is waited for as a task's rank that loads its data is: at most
`join_timeout_s` without a word of anybody who is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from motley.trainer.contract import validate
from motley.trainer.contract.spec import Spec
from motley.trainer.contract.wire import RunState
from motley.trainer.coordinator.base_coordinator import BaseCoordinator
from motley.trainer.coordinator.members import MemberConnection, how_it_ended
from motley.trainer.coordinator.membership.group_changes import Ready
from motley.trainer.coordinator.task_coordinator import GOODBYE_S, TaskCoordinator
from motley.trainer.host.session_mark import mark

RUNNING = "running its script"  # the phase of a member whose script has not called yet


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptRun:
    """What a script's run came to before its first session. `parents`: their connections."""

    coordinator: BaseCoordinator[Any]
    parents: Mapping[int, MemberConnection]
    group: tuple[int, ...]  # whose scripts run
    exited: Mapping[int, int] = field(default_factory=dict)  # exit codes of those that have ended
    waiting: Mapping[int, Ready] = field(default_factory=dict)  # parents that wait for a start of the script


class SessionCoordinator(TaskCoordinator):
    """Serves one run until its sessions have ended. `before`: None when the run was a session's already."""

    def __init__(
        self,
        spec: Spec,
        folder: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        goodbye_s: float = GOODBYE_S,
        before: ScriptRun | None = None,
    ) -> None:
        script = before.coordinator if before else None
        expected = before.group if before and before.group else None
        super().__init__(spec, folder, clock=clock, goodbye_s=goodbye_s, before=script, expected=expected)
        self._parents = dict(before.parents) if before else {}
        self._exited = dict(before.exited) if before else {}  # what is to be done about
        self.ledger.phases.pop("rendezvous_s", None)  # of the scripts' start
        for member in before.group if before else ():
            self._connections[member].phase = RUNNING
        for member, ready in before.waiting.items() if before else ():
            self._start_script(self._parents[member], ready)
        mark(folder, lambda text: self._journal.write("note", text, "warning"))

    # What the server tells

    def place(self, member: int, host: str, *, session: bool) -> MemberConnection | None:
        known = super().place(member, host, session=session)
        if known is None or session:
            return known
        return self._parents.setdefault(member, MemberConnection(member=known.member))

    def connected(self, connection: MemberConnection) -> None:
        member = connection.member.member
        if not self._is_parent(connection):
            super().connected(connection)
            self._hand_over(member)
            return
        known = self._connections[member]
        if known.dropped:
            self._show_out(connection)
            return
        connection.phase, known.changed = "connecting", self._clock()
        if known.transport is None:
            known.lost_at, known.phase = None, RUNNING

    def received(self, connection: MemberConnection, message: dict[str, Any]) -> None:
        if not self._is_parent(connection):
            super().received(connection, message)
            return
        connection.note(message, self._clock())
        match message["op"]:
            case "ready":
                self._start_script(connection, Ready.of(message))
            case "joined":
                self._hand_over(connection.member.member)
            case "exited":
                self._exited[connection.member.member] = validate.whole(message["code"])
                self._look_at_ends()
            case "beat" | "phase" | "ended":
                pass
            case other:
                raise ValueError(f"unknown message {validate.short(other)}")

    def disconnected(self, connection: MemberConnection) -> None:
        if not self._is_parent(connection):
            super().disconnected(connection)
            return
        member = connection.member.member
        del self._parents[member]
        known = self._connections[member]
        if known.transport is not None or known.ended is not None:
            return
        if connection.ended == "stopped" or self._stop_asked():
            known.ended = "stopped"
            self._tell_of_stop()
        else:
            self._lost_before_session(known)
        self._see_whether_over()

    # The scripts' parents

    def _is_parent(self, connection: MemberConnection) -> bool:
        return self._parents.get(connection.member.member) is connection

    def _start_script(self, parent: MemberConnection, ready: Ready) -> None:
        """Tell who has nothing to wait for that it may start its script."""
        member = parent.member.member
        members = sorted({*self._machine.group, member})
        roll = self._admission.roll
        anew = self._goes_on or not self._machine.awaiting
        assert self.spec.script is not None
        parent.send(
            op="group", generation=ready.generation + 1, rank=members.index(member), members=members,
            store=(self._lead.address, self.spec.script.port), source=0, step=0, term=self._lead.term,
            leader=self.spec.host, attempt=ready.attempt, stale=False, fits={}, anew=anew,
            roll=roll.to_table() if roll.edition else None,
        )  # fmt: skip

    def _hand_over(self, member: int) -> None:
        """Its script is a session: whoever has started that is not needed any more."""
        parent = self._parents.get(member)
        if parent is not None and parent.phase == "training" and self._connections[member].transport is not None:
            self._dismiss(parent)

    def _dismiss(self, parent: MemberConnection) -> None:
        del self._parents[parent.member.member]
        parent.send(op="session")
        parent.close()

    def _look_at_ends(self) -> None:
        """Scripts that ended before they were sessions. One that was killed is started again by its supervisor."""
        ends, self._exited = self._exited, {}
        for member, code in ends.items():
            parent, known = self._parents.get(member), self._connections[member]
            if code < 0:
                if parent is not None:
                    self._dismiss(parent)
                self._lost_before_session(known)
            elif member in self._machine.missing:
                known.phase, known.ended = how_it_ended(code), "failed"
                self._give_up("its script ended before it called motley.session()")
            elif parent is not None:
                text = f"the script of {known.name} ended before it called motley.session(); the others go on"
                self._journal.write("note", text, "warning")
                parent.send(op="over", text=text, state="finished" if code == 0 else "failed")

    def _lost_before_session(self, known: MemberConnection) -> None:
        if known.member.member in self._machine.missing and not (known.gone or self._goes_on):
            self._lost_before_first_group(known)

    # The clock, and ends

    def _tick(self, now: float) -> None:
        self._look_at_ends()
        super()._tick(now)

    def _everybody(self) -> list[MemberConnection]:
        return [*super()._everybody(), *self._parents.values()]

    def _end_for(self, connection: MemberConnection, state: RunState) -> RunState:
        """A script that was waited for in vain has failed; what ends for its sake, or another's, is lost."""
        known = self._connections[connection.member.member]
        at_fault = known.ended == "failed" or known.member.member in self._machine.missing
        return "lost" if self._is_parent(connection) and state == "failed" and not at_fault else state

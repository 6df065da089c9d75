"""The coordinator of a run of the user's own script: when it is started on whom, and what the run came to.

`trainer.coordinator.process.serve` calls it in place of its own when the spec has a script. Members call it as
those of a task do (`trainer.rank.coordinator_client`, `trainer.coordinator.server`), but each is a
`trainer.rank.script_rank`, which starts the script, and says how it ended: `{"op": "exited", "generation": 0, "code":
1}`. `trainer.coordinator.membership.restart_state_machine` decides; this file talks.

When the process of a script calls itself, as a session, the run goes over to a
`trainer.coordinator.session_coordinator`, and is none of this one's any more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from motley.trainer.contract import validate
from motley.trainer.contract.handshake import silence_s
from motley.trainer.contract.spec import Spec
from motley.trainer.contract.term import FIRST
from motley.trainer.contract.wire import RunState
from motley.trainer.coordinator.base_coordinator import BaseCoordinator
from motley.trainer.coordinator.members import MemberConnection, how_it_ended
from motley.trainer.coordinator.membership.group_changes import Cause
from motley.trainer.coordinator.membership.restart_state_machine import (
    LATE_S,
    Late,
    News,
    Over,
    RestartStateMachine,
    Started,
    Trouble,
)
from motley.trainer.coordinator.session_coordinator import ScriptRun, SessionCoordinator
from motley.trainer.coordinator.task_coordinator import GOODBYE_S


class ScriptCoordinator(BaseCoordinator[RestartStateMachine]):
    """Serves one run until its script has ended everywhere, or can't be started any more."""

    FIRST_GROUP = "the script was started"

    def __init__(
        self, spec: Spec, folder: Path, *, clock: Callable[[], float] = time.monotonic, goodbye_s: float = GOODBYE_S
    ) -> None:
        """`goodbye_s`: of a run of sessions, see `trainer.coordinator.task_coordinator`."""
        super().__init__(spec, folder, spec.members, clock=clock)
        self._goodbye_s = goodbye_s
        self._hosts = {m.member: m.host for m in spec.members}
        self._machine = RestartStateMachine(
            self._hosts,
            lost_after_s=silence_s(len(spec.members), spec.elastic.lost_after_s),
            restarts=spec.elastic.restarts,
            least=spec.elastic.min_hosts,
            term=self._lead.term,
            expected=[m.member for m in spec.members if m.host in self._lead.hosts],
        )
        self._started: Started | None = None  # not everybody has said yet that the script runs
        self._started_at = clock()
        self._state: RunState | None = None  # at the end
        self._root: int | None = None  # whose script failed

    # What the server tells

    def place(self, member: int, host: str, *, session: bool) -> MemberConnection | None:
        known = super().place(member, host, session=session)
        if not session or known is None:
            return known
        runs = self._machine.running and member in self._machine.group
        if self._over.is_set() or not (runs or (self._goes_on and not self._led)):
            return None  # it is about to be ended; or it has the state of a run whose records are not here
        return self._hand_over(known).place(member, host, session=True)

    def _hand_over(self, first: MemberConnection) -> SessionCoordinator:
        """From now on the run is one of sessions, of which this is the first."""
        text = f"{first.name} called motley.session(): from now on the script regroups in its processes after a loss"
        self._journal.write("session", text, member=first.member.member)
        members = self._machine.members
        before = ScriptRun(
            coordinator=self, parents=self._connections, group=self._machine.group,
            exited={m: code for m in self._machine.group if (code := members[m].code) is not None},
            waiting={m: ready for m, state in members.items() if state.connected and (ready := state.ready)},
        )  # fmt: skip
        successor = SessionCoordinator(
            self.spec, self._folder, clock=self._clock, goodbye_s=self._goodbye_s, before=before
        )
        assert self._server is not None
        self._server.hears = self._successor = successor
        self._over.set()
        return successor

    def _hear(self, connection: MemberConnection, message: dict[str, Any], now: float) -> None:
        member = connection.member.member
        match message["op"]:
            case "beat":
                self._machine.beat(member, now=now)
            case "phase" | "ended":
                pass
            case "ready":
                if self._machine.running and member not in self._machine.group:
                    text = f"{connection.name} is back, and waits for the next restart of the script"
                    self._journal.write("note", text)
            case "joined":
                self._see_whether_started(now)
            case "exited":
                code, generation = validate.whole(message["code"]), validate.whole(message["generation"])
                connection.ended = "finished" if code == 0 else None
                if not self._stop_asked():
                    self._machine.exited(member, generation, code, now=now)
            case other:
                raise ValueError(f"unknown message {validate.short(other)}")

    def disconnected(self, connection: MemberConnection) -> None:
        member = connection.member.member
        if connection.ended == "stopped" or self._stop_asked():
            connection.ended = "stopped"
            self._end("stopped")
        elif connection.ended == "failed" and self._state is None:  # its minder, not the script
            self._root = member
            self._end("failed", f"{connection.name} failed")
        elif self._machine.missing and self._lead.term == FIRST:
            self._lost_before_first_group(connection)
        else:
            self._machine.lost(member, now=self._clock())
            self._act()

    # What the state machine decides

    def _do(self, news: News) -> None:
        match news:
            case Started():
                self._start(news)
            case Late(members=members):
                who = ", ".join(self._connections[m].name for m in members)
                text = (
                    f"{who}: the script runs on, {LATE_S:.0f} s after another rank's has ended: it may have more to "
                    "do, or hang as it tidies up (docs/script.md, How it ends)"
                )
                self._journal.write("note", text, "warning", members=list(members))
            case Over(state=state, root=root, code=code, why=why):
                self._root = root
                if root is not None:
                    self._end(state, f"{self._connections[root].name} failed: {how_it_ended(code)}")
                elif state == "failed":
                    self._used_up(why)
                else:
                    self._end(state)

    def _start(self, news: Started) -> None:
        self._started, self._started_at = news, self._clock()
        connections = self._begin_group(news.generation, news.members)
        self._go_on_from_past(news.members)
        for trouble in news.why:
            self._regroups.gone(trouble.member, "lost", 0)
        self._regroups.formed(news.generation, news.members, 0)
        hosts = list(dict.fromkeys(one.member.host for one in connections))
        count = f"{len(connections)} rank{'s' * (len(connections) != 1)} on {', '.join(hosts)}"
        self._send_group(connections, f"the script starts: {count}", generation=news.generation, store=news.store)
        if news.generation:
            most = self.spec.elastic.restarts
            text = f"restart {news.generation} of {most} (elastic.restarts): {self._told(news.why)}"
            self._journal.write(
                "restarted", text, "warning", restart=news.generation, most=most, pause_s=news.pause_s,
                why=[{"member": t.member, "host": self._hosts[t.member], "cause": t.cause} for t in news.why],
            )  # fmt: skip

    def _see_whether_started(self, now: float) -> None:
        started = self._started
        if started is None or any(self._connections[m].phase != "training" for m in started.members):
            return
        self._started = None
        if not started.generation:
            self.ledger.phases["rendezvous_s"] = now - self._started_at
        elif started.pause_s is not None:
            self._regroups.resumed(started.generation, started.pause_s + now - self._started_at)

    def _told(self, why: Sequence[Trouble]) -> str:
        """Troubles in words: `rank 1 on box2 was lost`."""
        words = []
        for trouble in why:
            how = "was lost" if trouble.cause == "lost" else how_it_ended(-trouble.signal)
            words.append(f"{self._connections[trouble.member].name} {how}")
        return "; ".join(dict.fromkeys(words)) or "its coordinator was replaced"

    def _gone(self, connection: MemberConnection, cause: Cause) -> None:
        self._leave_out(connection, f"{connection.name} was lost", cause=cause)

    def _used_up(self, why: Sequence[Trouble]) -> None:
        most = self.spec.elastic.restarts
        times = f"the script was started anew {most} time{'s' * (most != 1)} already" if most else "it is not restarted"
        text = f"{self._told(why)}; {times} (elastic.restarts = {most})"
        self._journal.write("note", text, "error")
        self._end("failed", text)

    # The clock, and ends

    def _without(self, member: int) -> None:
        self._machine.lost(member, now=self._clock())
        self._act()

    def _gave_up(self) -> None:
        self._end("failed", self.ledger.cause)

    def _held_too_long(self, why: str) -> None:
        self._end("failed", why)

    def _end_state(self) -> RunState:
        return self._state or ("stopped" if self._stopping else "failed")

    def _end_for(self, connection: MemberConnection, state: RunState) -> RunState:
        """Those that end by another's fault are lost."""
        return "lost" if state == "failed" and connection.member.member != self._root else state

    def _end(self, state: RunState, cause: str | None = None) -> None:
        if self._state is None:
            self._state = state
            if state == "finished" and self.spec.resume is not None:
                text = "the script did not call motley.session(): nothing went on from the checkpoint of --resume"
                self._journal.write("note", text, "warning")
            self.ledger.cause = cause
            for connection in self._connections.values():
                connection.ended = connection.ended or ("stopped" if state == "stopped" else None)
            self._over.set()

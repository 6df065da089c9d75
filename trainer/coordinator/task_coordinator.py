"""Who is in the group: a small TCP service on the leader. Standard library only; it outlives the ranks there.

Ranks call it before they import torch, say which phase they are in, and get the group once all are ready: their
rank, the world size, and where rank 0 keeps the TCPStore. While some are missing it says which and in which phase;
when none of them makes progress for `join_timeout_s` it gives up with their names. Once a group trains, a member that
is lost breaks it, and those that are left form the next one (`trainer.roster` decides, this file talks). Rank 0
reports every window of steps, from which `summary.json` is kept up to date (`trainer.summary`).

How they speak to each other is in `trainer.switchboard`; what it shares with that of a script in `trainer.service`.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer import said
from trainer.door import SHOWN_OUT, Door
from trainer.folders import run_folder
from trainer.lines import Line, end_state
from trainer.news import Boundary, Broken, Formed, Gone, Holding, News, Ready
from trainer.roll import roll_of
from trainer.roster import Roster
from trainer.said import whole
from trainer.service import Service, seats
from trainer.spec import Spec
from trainer.wire import Level, RunState

GOODBYE_S = 5.0  # after a rank failed or did not come, the others have this long to say their last word


class Coordinator(Service):
    """Serves one run until its members have ended."""

    def __init__(
        self, spec: Spec, folder: Path, *, clock: Callable[[], float] = time.monotonic, goodbye_s: float = GOODBYE_S
    ) -> None:
        roll, elastic = roll_of(folder), spec.elastic
        members = roll.members(spec.members)
        super().__init__(spec, folder, members, dropped=roll.dropped, clock=clock)
        self._goodbye_s = goodbye_s
        self._roster = Roster(
            self._lines,
            lost_after_s=elastic.lost_after_s,
            stuck_after_s=elastic.stuck_after_s,
            hosts={m.member: m.host for m in members},
            least=elastic.min_hosts,
            term=self._lead.term,
            expected=[m.member for m in members if m.host in self._lead.hosts and m.host not in roll.dropped],
        )
        self._taken_over = False
        self._told = 0  # the generation whose regroup is in the journal
        self._ready_at: float | None = None
        self._fits: dict[str, Any] = {}  # what rank 0 knows of every member's speed, for a rank 0 that follows it
        self._door = Door(
            spec, folder, roll, lines=self._lines, roster=self._roster, regroups=self._regroups, ledger=self.ledger,
            journal=self._journal,
        )  # fmt: skip

    # What the switchboard tells

    def called(self, line: Line) -> None:
        if line.dropped:
            self._show_out(line)
            return
        self._roster.connected(line.member.member, now=self._clock())
        self._act()

    def take(self, line: Line, message: dict[str, Any]) -> None:
        member, now = line.member.member, self._clock()
        line.note(message, now)
        match message["op"]:
            case "beat":
                self._roster.beat(member, step=whole(message["step"]), arrived=whole(message["arrived"]), now=now)
            case "phase":
                if self._lead.term and member in self._roster.missing:  # a new process: it comes when it can
                    self._without(member)
            case "ready":
                self._roster.ready(member, Ready.of(message), now=now)
                self._act()
            case "joined":
                self._roster.beat(member, step=-1, arrived=-1, now=now)
                if self._ready_at is not None and all(self._lines[m].phase == "training" for m in self._roster.group):
                    self.ledger.phases.setdefault("rendezvous_s", now - self._ready_at)
                    self._ready_at = None
            case "report":
                self.ledger.take_report(message)
                self._fits = said.table(message.get("fits") or {}) or self._fits
            case "resumed":
                self._resumed(whole(message["generation"]), said.figure(message["pause_s"]))
            case "ended":
                self._roster.ended(member)
            case other:
                raise ValueError(f"unknown message {said.short(other)}")

    def hung_up(self, line: Line) -> None:
        member, name = line.member.member, line.name
        self._door.look(self._clock())  # it may have been asked to leave
        self._act()
        if line.dropped or (line.gone and line.ended is not None):  # the group does not depend on it
            if line.ended == "failed" and not line.dropped:
                self._journal.write("note", f"{name} could not join: its log says why; the others go on", "warning")
        elif line.ended is None and not self._stop_asked():
            line.phase = "gone"
            if self._roster.awaiting and self._roster.term:  # it was there before this coordinator: it calls again
                self._roster.disconnected(member)
            elif self._roster.missing and not line.gone:
                line.ended = "failed"
                self._give_up(f"{name} ended before the group was formed")
            else:
                self._roster.lost(member)
                self._act()
        elif line.ended == "failed":
            self.ledger.cause = self.ledger.cause or f"{name} failed at step {self.ledger.steps}"
            if self._roster.missing:
                self._give_up(f"{name} ended before the group was formed")
            self._say_goodbye()
        elif line.ended == "stopped" or self._stop_asked():
            line.ended = "stopped"
            self._tell_of_stop()
        self._see_whether_over()

    def _see_whether_over(self) -> None:
        """The run is over when all members of the group have said so, or went and never came back."""
        group = self._roster.group or tuple(self._lines)
        lines = [self._lines[m] for m in group]
        left = [line for line in lines if not line.gone]
        if left and all(line.ended is not None and line.transport is None for line in left):
            self._over.set()

    def _act(self) -> None:
        """Do what the roster has decided."""
        for news in self._roster.take_news():
            self._do(news)
        self.ledger.regroups = self._regroups.records()

    def _do(self, news: News) -> None:
        match news:
            case Formed():
                self._form(news)
            case Broken(generation=generation, members=members):
                for member in members:
                    self._lines[member].send(op="regroup", generation=generation)
            case Boundary(member=member):
                self._lines[member].send(op="boundary")
            case Gone(member=member, cause=cause):
                self._gone(member, cause)
            case Holding():
                self._save_and_hold(news)

    def _save_and_hold(self, news: Holding) -> None:
        """Nobody trains until others come back; meanwhile the state is safe on a disk."""
        if news.keeper is not None:
            why = self._too_few(news.hosts)
            self._lines[news.keeper].send(op="save")
        else:
            why = "no rank that is left has the run's state"
            if {line.member.host for line in self._lines.values()} == {self.spec.leader}:  # nobody can come back
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
        lines = [self._lines[m] for m in news.members]
        first = news.generation == 0
        self._held_at = None
        if first:
            self._ready_at = self._clock()
            for name in ("spawn_s", "import_s"):
                self.ledger.phases[name] = max(line.times.get(name, 0.0) for line in lines)
        if not first and not self._taken_over:
            self._regroups.taken_over(news.members, self.spec.host, news.step, dropped=self._door.roll.dropped)
        self._taken_over = True
        for line in self._lines.values():  # who did not come to a new coordinator may yet
            line.gone = line.gone or line.member.member not in news.members
        self._regroups.formed(news.generation, news.members, news.step)
        roll = self._door.roll.to_table() if self._door.roll.edition else None
        for rank, line in enumerate(lines):
            line.ended, line.gone = None, False
            line.send(
                op="group",
                generation=news.generation,
                rank=rank,
                members=news.members,
                store=news.store,
                source=news.source,
                step=news.step,
                term=self._roster.term,
                attempt=self._roster.seats[line.member.member].attempt,
                stale=line.member.member in news.stale,
                fits=self._fits if rank == 0 else {},
                roll=roll,
            )
        count = f"{len(lines)} rank{'s' * (len(lines) != 1)}"
        text = f"all {count} are ready" if first else f"going on from step {news.step} with {count}"
        self._journal.write(
            "group", text, generation=news.generation, world_size=len(lines), members=seats(lines), step=news.step
        )

    def _gone(self, member: int, cause: str) -> None:
        line = self._lines[member]
        if line.dropped:
            self._show_out(line)
        line.hang_up()  # it may be silent, or stuck
        line.gone = True
        step = max(seat.step for seat in self._roster.seats.values())
        self._regroups.gone(member, cause, step)
        line.phase = "gone"
        how = {"lost": "was lost", "stuck": "makes no progress", "dropped": "is taken out"}[cause]
        text = f"{line.name} {how} at step {step}; the others go on"
        level: Level = "info" if cause == "dropped" else "warning"
        self._journal.write("lost", text, level, member=member, host=line.member.host, cause=cause, step=step)

    def _show_out(self, line: Line) -> None:
        line.send(op="over", text=SHOWN_OUT, state="stopped")
        line.hang_up()

    def _tick(self, now: float) -> None:
        self._door.look(now)
        self._roster.tick(now)
        self._act()

    def _missing(self) -> list[int]:
        return self._roster.missing

    def _without(self, member: int) -> None:
        self._roster.lost(member)
        self._act()

    def _give_up(self, why: str) -> None:
        self._gathering.give_up(why, self._clock(), self._roster.missing)

    def _gave_up(self) -> None:
        self._say_goodbye()

    def _held_too_long(self, why: str) -> None:
        self.ledger.cause = why
        self._over.set()

    def _end_state(self) -> RunState:
        return end_state(self._lines.values(), stopped=self._stop_asked())

    def _end_for(self, line: Line, state: RunState) -> RunState:  # noqa: ARG002 - the same for all
        return state

    def _say_goodbye(self) -> None:
        """A rank failed, or did not come: the others have a moment to say their last word."""
        asyncio.get_running_loop().call_later(self._goodbye_s, self._over.set)

    def _tell_of_stop(self) -> None:
        """Others may hang in a collective with a rank that has left for the stop."""
        for line in self._lines.values():
            line.send(op="over", text="the run is being stopped", state="stopped")


def serve(run: str, host: str, descriptor: int) -> int:
    """`python -m trainer coordinate`: serve one run on the listening socket that the supervisor passed on."""
    folder = run_folder(run, host)
    spec = Spec.from_json((folder / "spec.json").read_bytes())
    with socket.socket(fileno=descriptor) as listener:
        listener.setblocking(False)
        if spec.script is None:
            asyncio.run(Coordinator(spec, folder).run(listener))
        else:
            from trainer.script_coordinator import ScriptCoordinator

            asyncio.run(ScriptCoordinator(spec, folder).run(listener))
    return 0

"""Who is in the group: a small TCP service on the leader. Standard library only; it outlives the ranks there.

Ranks call it before they import torch, say which phase they are in, and get the group once all are ready: their
rank, the world size, and where rank 0 keeps the TCPStore. While some are missing it says which and in which phase;
when none of them makes progress for `join_timeout_s` it gives up with their names. Once a group trains, a member that
is lost breaks it, and those that are left form the next one (`trainer.roster` decides, this file talks). Rank 0
reports every window of steps, from which `summary.json` is kept up to date (`trainer.summary`).

How they speak to each other is in `trainer.switchboard`.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer.door import SHOWN_OUT, Door
from trainer.folders import run_folder, write_json
from trainer.gathering import Gathering
from trainer.handshake import answer_s
from trainer.journal import Journal
from trainer.lead import lead_of
from trainer.lines import Line, end_state, host_states
from trainer.regroups import Regroups
from trainer.roll import roll_of
from trainer.roster import Boundary, Broken, Formed, Gone, Holding, News, Ready, Roster
from trainer.spec import Spec
from trainer.summary import Ledger
from trainer.switchboard import Switchboard
from trainer.wire import Level, RunState

SUMMARY_S = 1.0
TICK_S = 0.1
REFORM_S = 4.0  # that a run which goes on under a new coordinator waits for those that were there
GOODBYE_S = 5.0  # after a rank failed or did not come, the others have this long to say their last word


class Coordinator:
    """Serves one run until its members have ended."""

    def __init__(
        self, spec: Spec, folder: Path, *, clock: Callable[[], float] = time.monotonic, goodbye_s: float = GOODBYE_S
    ) -> None:
        lead = lead_of(folder, spec)
        self.spec = spec
        self._folder = folder
        self._clock = clock
        self._goodbye_s = goodbye_s
        self._journal = Journal(folder, host=spec.host, source="coordinator")
        now = clock()
        roll, elastic = roll_of(folder), spec.elastic
        members = roll.members(spec.members)
        hosts = {m.member: m.host for m in members}
        self._lines = {m.member: Line(member=m, changed=now, dropped=m.host in roll.dropped) for m in members}
        self._roster = Roster(
            self._lines,
            lost_after_s=elastic.lost_after_s,
            stuck_after_s=elastic.stuck_after_s,
            hosts=hosts,
            least=elastic.min_hosts,
            term=lead.term,
            expected=[m.member for m in members if m.host in lead.hosts and m.host not in roll.dropped],
        )
        self._regroups = Regroups(hosts)
        self._taken_over = False
        self._told = 0  # the generation whose regroup is in the journal
        self._ready_at: float | None = None
        self._held_at: float | None = None
        self._beaten_at = 0.0
        self._fits: dict[str, Any] = {}  # what rank 0 knows of every member's speed, for a rank 0 that follows it
        self._stopping = False
        self._over = asyncio.Event()
        self.ledger = Ledger.of(spec, received=time.time(), members=members)
        self._door = Door(
            spec, folder, roll, lines=self._lines, roster=self._roster, regroups=self._regroups, ledger=self.ledger,
            journal=self._journal,
        )  # fmt: skip
        self._gathering = Gathering(
            self._lines, self._roster, self.ledger, self._journal, began=now,
            patience_s=REFORM_S if lead.term else spec.options.join_timeout_s, over=self._say_goodbye,
        )  # fmt: skip

    async def run(self, listener: socket.socket) -> None:
        """Serve on the listening socket, and write the summary of the end state."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stop)
        async with Switchboard(listener, self._lines, self.spec.token, self._journal, self):
            watch = asyncio.create_task(self._watch())
            await self._over.wait()
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            state = end_state(self._lines.values(), stopped=self._stop_asked())
            self._write_summary(state)
            for line in self._lines.values():
                line.send(op="over", text=self.ledger.cause or "the run is over", state=state)

    # What the switchboard tells

    def called(self, line: Line) -> None:
        if line.dropped:
            self._show_out(line)
            return
        self._roster.connected(line.member.member, now=self._clock())
        self._act()

    def take(self, line: Line, message: dict[str, Any]) -> None:
        member, now = line.member.member, self._clock()
        line.changed = now
        match message["op"]:
            case "beat":
                self._roster.beat(member, step=int(message["step"]), arrived=int(message["arrived"]), now=now)
            case "phase":
                line.phase = str(message["phase"])
            case "ready":
                line.phase = "joining"
                line.times.update(message["times"])
                self._roster.ready(member, Ready.of(message), now=now)
                self._act()
            case "joined":
                line.phase = "training"
                self._roster.beat(member, step=-1, arrived=-1, now=now)
                if self._ready_at is not None and all(self._lines[m].phase == "training" for m in self._roster.group):
                    self.ledger.phases.setdefault("rendezvous_s", now - self._ready_at)
                    self._ready_at = None
            case "report":
                self.ledger.take_report(message)
                self._fits = message.get("fits") or self._fits
            case "resumed":
                self._resumed(int(message["generation"]), float(message["pause_s"]))
            case "ended":
                line.ended = message["state"]
                line.phase = "ended"
                self._roster.ended(member)
            case other:
                raise ValueError(f"unknown message {other!r}")

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
                self._gathering.give_up(f"{name} ended before the group was formed", self._clock())
            else:
                self._roster.lost(member)
                self._act()
        elif line.ended == "failed":
            self.ledger.cause = self.ledger.cause or f"{name} failed at step {self.ledger.steps}"
            if self._roster.missing:
                self._gathering.give_up(f"{name} ended before the group was formed", self._clock())
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
                self._hold(news)

    def _hold(self, news: Holding) -> None:
        """Nobody trains until others come back; meanwhile the state is safe on a disk."""
        self._held_at = self._clock()
        hosts, least, hold_s = news.hosts, self.spec.elastic.min_hosts, self.spec.elastic.hold_s
        if news.keeper is not None:
            why = f"{hosts} host{'s' * (hosts != 1)} left, {least} needed (elastic.min_hosts)"
            self._lines[news.keeper].send(op="save")
        else:
            why = "no rank that is left has the run's state"
            if {line.member.host for line in self._lines.values()} == {self.spec.leader}:  # nobody can come back
                self.ledger.cause = f"{why}: motley run --resume {self.spec.run} goes on from its last checkpoint"
                self._over.set()
        text = f"{why}: waiting {hold_s:.0f} s for others to come back"
        self._journal.write("holding", text, "warning", hosts=hosts, least=least, hold_s=hold_s)

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
        self._regroups.formed(news.generation, news.members, news.step)
        members = [
            {"member": line.member.member, "host": line.member.host, "rank": rank, "device": line.member.device}
            for rank, line in enumerate(lines)
        ]
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
            "group", text, generation=news.generation, world_size=len(lines), members=members, step=news.step
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

    async def _watch(self) -> None:
        """Look at the clock: who is silent, who is missing, and is the summary fresh."""
        wrote_at = self._clock()
        while True:
            await asyncio.sleep(TICK_S)
            now = self._clock()
            self._door.look(now)
            self._roster.tick(now)
            self._act()
            self._beat(now)
            if self._roster.generation < 0:
                self._gathering.look(now)
                continue
            if now - wrote_at > SUMMARY_S:
                wrote_at = now
                self._write_summary("running")
            if self._held_at is not None and now - self._held_at > self.spec.elastic.hold_s:
                self.ledger.cause = f"too few hosts for {self.spec.elastic.hold_s:.0f} s (elastic.hold_s)"
                self._over.set()

    def _beat(self, now: float) -> None:
        """A sign of life to everybody, so that a rank knows that it is not cut off."""
        if now - self._beaten_at < answer_s(len(self._lines)):
            return
        self._beaten_at = now
        for line in self._lines.values():
            line.beat()

    def _say_goodbye(self) -> None:
        """A rank failed, or did not come: the others have a moment to say their last word."""
        asyncio.get_running_loop().call_later(self._goodbye_s, self._over.set)

    def _stop(self) -> None:
        """The supervisor's TERM: its ranks have ended, the run was stopped."""
        self._stopping = True
        for line in self._lines.values():
            line.ended = line.ended or "stopped"
        self._over.set()

    def _stop_asked(self) -> bool:
        """Ranks ended for a stop may be gone before its TERM comes here; the request is on the disk by then."""
        return self._stopping or (self._folder / "stop.json").exists()

    def _tell_of_stop(self) -> None:
        """Others may hang in a collective with a rank that has left for the stop."""
        for line in self._lines.values():
            line.send(op="over", text="the run is being stopped", state="stopped")

    def _write_summary(self, state: RunState) -> None:
        hosts = host_states(self._lines, state)
        try:
            write_json(self._folder / "summary.json", self.ledger.summary(state, hosts, now=time.time()))
        except OSError as error:
            self._journal.write("note", f"summary.json not written: {error}", "warning")


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

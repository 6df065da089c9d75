"""Owns the processes of one run on one host. Standard library only; it never imports torch.

`python -m trainer supervise` reads a `Spec` on standard input, detaches itself from the SSH session that started it
and answers one line. From then on SSH is only a viewer: the supervisor starts the ranks (and the coordinator, on the
leader), keeps their output, says in `state.json` and `events.jsonl` how they are, and ends when they have ended.
A TERM signal to it is the request to stop the run here: ranks are asked (TERM; rank 0 writes a checkpoint), given
`stop_grace_s`, then killed until /proc shows none, nor the container runtime where they run in containers. When it dies
itself, the kernel kills its ranks.
"""

from __future__ import annotations

import dataclasses
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from trainer import processes, work
from trainer.child import Child
from trainer.emulation import DutyCycle
from trainer.exits import Exit
from trainer.folders import FOLLOWING, HERE, read_json, write_json
from trainer.forks import Forks
from trainer.journal import Journal
from trainer.lead import follow, lead_of
from trainer.listen import listen
from trainer.oom import oom_kills
from trainer.output import Output
from trainer.roll import hosts_of, roll_of
from trainer.spec import Spec
from trainer.starter import Starter
from trainer.wire import RunState

TICK_S = 0.1
BEAT_S = 1.0
PEERS_S = 5.0  # after a rank failed, its neighbours on this host have this long to end by themselves
STARTS, AGAIN_S = 4, 1.0  # of what something kills: how often at most in a row, and a rank's first pause
LIVED_S = 60.0  # a rank that has lived for so long was no attempt in vain
CHILDREN_S = 0.5  # what ranks have left behind has this long to end by itself
COORDINATOR_S = 5.0  # after the last rank here, the coordinator has this long to write the summary


class Supervisor:
    """One run on one host, from the first fork to the last. `run()` returns its end state."""

    def __init__(
        self,
        spec: Spec,
        folder: Path,
        *,
        received: float,
        listener: socket.socket | None,
        anew: bool = False,
        forks: Forks | None = None,
    ) -> None:
        """`anew`: the run goes on already; the ranks here come back to it. `forks`: what the run before it had."""
        self.spec = spec
        self.folder = folder
        self.state: RunState = "starting"
        self.kept: Forks | None = None  # for the run that follows this one, when it was asked for
        self._received = received
        self._listener = listener
        self._forks = forks
        self._anew = anew
        self._term = lead_of(folder, spec).term
        self._journal = Journal(folder, host=spec.host, source="supervisor")
        self._selector = selectors.DefaultSelector()
        self._ranks: list[Child] = []
        self._coordinator: Child | None = None
        self._coordinators = 0  # that something killed, in a row
        self._stop_asked = False
        self._left = 0
        self._oom_kills = oom_kills()
        self._cause: str | None = None  # of a run that was lost here
        self._beat_due = 0.0
        self._duty = DutyCycle(spec.speed or 1.0, self._training_pids, processes.send)

    def run(self, ready: Callable[[], None]) -> RunState:
        """Start everything, call `ready`, and stay until nothing of the run is left here."""
        processes.become_subreaper()
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # wakes the selector
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer)
        self._selector.register(reader, selectors.EVENT_READ, None)
        self._starter = Starter(
            self.spec, self.folder, received=self._received, forks=self._forks,
            watch=lambda output: self._selector.register(output.pipe, selectors.EVENT_READ, output),
        )  # fmt: skip
        if self._starter.forks is not None:
            self._selector.register(self._starter.forks.control, selectors.EVENT_READ, self._starter)
        if self._listener is not None:
            self._coordinator = self._starter.coordinator(self._listener.fileno())
            self._listener.close()
        for member in self.spec.local_members:
            self._ranks.append(self._starter.rank(member, anew=self._anew))
        self._set_state("running")
        self._journal.write(
            "started",
            f"{len(self._ranks)} rank{'s' * (len(self._ranks) != 1)} started",
            ranks=len(self._ranks),
            pid=os.getpid(),
        )
        ready()
        self._duty.start()
        failed_at: float | None = None
        while not self._stop_asked and self._at_work():
            self._wait(BEAT_S if failed_at is None else TICK_S)  # output, a signal or a child's end wakes it
            self._start_again()
            self._look_who_leads()
            if failed_at is None and self._failing():
                failed_at = time.monotonic()
            if failed_at is not None and time.monotonic() - failed_at > PEERS_S:
                break
        self._duty.stop()
        state = self._finish()
        self._set_state(state)
        self._journal.write(
            "ended", f"{state}, {self._left} processes left", "info" if not self._left else "error",
            state=state, left=self._left,
        )  # fmt: skip
        signal.set_wakeup_fd(-1)
        self._selector.close()
        os.close(reader)
        os.close(writer)
        return state

    def _at_work(self) -> bool:
        """Ranks, those that are about to be started again, or the coordinator of ranks elsewhere."""
        coordinating = self._coordinator is not None and self._coordinator.code is None
        return coordinating or any(c.code is None or c.again_at is not None for c in self._ranks)

    def _start_again(self) -> None:
        """Ranks that were killed come back as newcomers, after a pause that grows; the others train meanwhile."""
        now = time.monotonic()
        for i, child in enumerate(self._ranks):
            if child.again_at is not None and now >= child.again_at and child.member is not None:
                again = self._starter.rank(child.member, anew=True)
                again.started = child.started + 1
                self._ranks[i] = again

    def _look_who_leads(self) -> None:
        """Start the coordinator when this host has become the leader; end it when another has."""
        lead = lead_of(self.folder, self.spec)
        if lead.term <= self._term:
            return
        self._term = lead.term
        if self._coordinator is not None and self._coordinator.code is None:
            processes.send(pids([self._coordinator]), signal.SIGKILL)
        self._coordinator = None
        if lead.leader == self.spec.host:
            try:
                with listen(lead.address, lead.port) as listener:
                    self._coordinator = self._starter.coordinator(listener.fileno())
            except OSError as error:
                self._journal.write("note", str(error), "error")
                return
        self._journal.write("leader", f"{lead.leader} leads the run from now on", "warning", **dataclasses.asdict(lead))

    def _lead_again(self) -> None:
        """The coordinator was killed: another takes its place, and the ranks call that one."""
        lead = lead_of(self.folder, self.spec)
        hosts = hosts_of(self.spec, roll_of(self.folder))
        follow(self.folder, self.spec, dataclasses.replace(lead, term=lead.term + 1, hosts=hosts))

    def _finish(self) -> RunState:
        """End what still runs, wait for the coordinator's summary, sweep, and say how it ended."""
        stopping = self._stop_asked
        if stopping and (self.folder / FOLLOWING).exists():
            self.kept = self._starter.keep()
        if self.kept is None:
            self._starter.end()
        keep = [self.kept.pid] if self.kept is not None else []
        if stopping:
            request = read_json(self.folder / "stop.json")
            self._journal.write(
                "stopping", f"stopping: {request.get('reason') or 'asked to'}", reason=request.get("reason")
            )
        processes.send(pids(self._ranks), signal.SIGTERM)
        self._wait_while(lambda: any(c.code is None for c in self._ranks), self.spec.options.stop_grace_s)
        coordinator = self._coordinator
        processes.end(self.folder, grace_s=CHILDREN_S, besides=[*keep, *pids([coordinator])], wait=self._wait)
        if coordinator and coordinator.code is None:
            if stopping:
                processes.send(pids([coordinator]), signal.SIGTERM)
            self._wait_while(lambda: coordinator.code is None, COORDINATOR_S)
        self._left = processes.end(self.folder, grace_s=0.0, besides=keep, wait=self._wait)
        self._left += self._end_containers()
        self._wait(0.0)
        if stopping:
            return "stopped"
        codes = {c.code for c in self._ranks}
        if codes <= {0, Exit.STOPPED}:
            return "finished" if codes <= {0} else "stopped"
        if codes <= {0, Exit.PEER_LOST}:
            held = (self.folder / "checkpoints" / "held.pt").exists()
            goes_on = f": motley run --resume {self.spec.run} goes on from checkpoints/held.pt" if held else ""
            self._cause = f"the run's leader was not to be reached for {self.spec.elastic.hold_s:.0f} s{goes_on}"
            return "lost"
        return "failed"

    def _end_containers(self) -> int:
        if self.spec.container is None:
            return 0
        from trainer import containers

        return containers.end_of_run(
            self.spec.container, self.folder, wait=self._wait,
            settle_s=containers.SETTLE_S if any(c.cut_short for c in self._ranks) else 0.0,
            tell=lambda text: self._journal.write("note", text, "error"),
        )  # fmt: skip

    def _failing(self) -> bool:
        """A rank has failed, or the coordinator has ended the run because it lost one."""
        given_up = self._coordinator is not None and self._coordinator.code == 0
        return given_up or any(c.code not in (None, 0) and c.again_at is None for c in self._ranks)

    def _wait_while(self, condition: Callable[[], bool], bound_s: float) -> None:
        deadline = time.monotonic() + bound_s
        while condition() and time.monotonic() < deadline:
            self._wait(TICK_S)

    def _wait(self, seconds: float) -> None:
        """Wait for something to happen, at most so long; keep output, reap children, show a sign of life."""
        for key, _ in self._selector.select(seconds):
            if isinstance(key.data, Output):
                self._drain(key.data)
            elif isinstance(key.data, Starter):
                self._hear(key.data)
            else:
                os.read(key.fd, 4096)
        self._reap()
        if time.monotonic() >= self._beat_due:
            self._set_state(self.state)

    def _hear(self, starter: Starter) -> None:
        control = starter.forks.control if starter.forks is not None else None
        for child in starter.hear():
            self._report_end(child)
        self._set_state(self.state)  # with the new pids
        if control is not None and starter.forks is None:
            self._selector.unregister(control)

    def _drain(self, output: Output) -> None:
        if not output.closed and not output.pump():
            self._selector.unregister(output.pipe)
            output.close()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            known = (*self._ranks, *([self._coordinator] if self._coordinator else []))
            child = next((child for child in known if child.pid == pid and child.code is None), None)
            if child is None:
                self._starter.reaped(pid, status)
                continue
            child.ended(status)
            self._report_end(child)

    def _report_end(self, child: Child) -> None:
        code = child.code
        if code in (0, Exit.STOPPED) or self._stop_asked:
            return
        self._drain(child.output)
        killed = code is not None and (code < 0 or code == Exit.STUCK)
        starved = oom_kills() - self._oom_kills
        how = f"ended by signal {-(code or 0)}" if (code or 0) < 0 else f"exit code {code}"
        if code == -signal.SIGKILL and starved > 0:
            how += ", and the kernel was out of memory"
        if child.member is None:
            self._journal.write("note", f"the coordinator {how}: {child.output.tail()}", "error")
            lived = time.monotonic() - child.began > LIVED_S
            self._coordinators = 1 if lived else self._coordinators + 1
            if killed and self._coordinators <= STARTS:
                self._lead_again()
            return
        if time.monotonic() - child.began > LIVED_S:
            child.started = 1
        if killed and child.started < STARTS:
            pause_s = AGAIN_S * 2 ** (child.started - 1)
            child.again_at = time.monotonic() + pause_s
            self._journal.write(
                "rank_killed", f"rank {child.member.member}: {how}; it is started again in {pause_s:g} s", "warning",
                member=child.member.member, code=code, oom_kills=starved,
            )  # fmt: skip
            return
        cause = code not in (Exit.PEER_LOST, Exit.GAVE_UP)
        self._journal.write(
            "rank_failed",
            f"rank {child.member.member}: {how}" if cause else f"rank {child.member.member} ended after the others",
            "error" if cause else "warning",
            member=child.member.member, code=code, root_cause=cause,
            traceback="" if code == Exit.STUCK else child.output.tail(), python=sys.executable, oom_kills=starved,
        )  # fmt: skip

    def _set_state(self, state: RunState) -> None:
        changed, self.state = state != self.state, state
        self._beat_due = time.monotonic() + BEAT_S
        try:
            write_json(self.folder / "state.json", self._table())
        except OSError as error:
            if changed:
                os.write(2, f"state not written: {error}\n".encode())

    def _table(self) -> dict[str, Any]:
        return {
            "run": self.spec.run,
            "host": self.spec.host,
            "leader": self.spec.leader,
            "state": self.state,
            "pid": os.getpid(),
            "start": processes.start_ticks(os.getpid()),
            "boot_id": processes.boot_id(),
            "tags": processes.tags(self.spec.run, self.spec.host, self.folder),
            "code": str(HERE),
            "python": sys.executable,
            "forks": self._starter.forks.pid if self._starter.forks is not None else None,
            "time": time.time(),
            "left": self._left,
            "cause": self._cause,
            "ranks": [
                {"member": c.member.member, "pid": c.pid, "start": c.start, "code": c.code}
                for c in self._ranks
                if c.member is not None
            ],
        }

    def _training_pids(self) -> list[int]:
        """What the emulation slows down."""
        lists = [
            work.training(self.spec, self.folder, c.member, c.pid)
            for c in self._ranks
            if c.code is None and c.member is not None and c.pid is not None
        ]
        return [pid for pids in lists for pid in pids]

    def _on_term(self, *_: object) -> None:
        self._stop_asked = True


def pids(children: Iterable[Child | None]) -> list[int]:
    """Of those that live."""
    return [child.pid for child in children if child is not None and child.code is None and child.pid is not None]

"""Owns the processes of one run on one host. Standard library only; it never imports torch.

`python -m motley.trainer supervise` reads a `Spec` on standard input, detaches itself from the SSH session that started
it and answers one line. From then on SSH is only a viewer: the supervisor starts the ranks (and the coordinator, on the
leader), keeps their output, says in `state.json` and `events.jsonl` how they are, and ends when they have ended. A TERM
signal to it is the request to stop the run here: ranks are asked (TERM; rank 0 writes a checkpoint), given
`stop_grace_s`, then killed until /proc shows none, nor the container runtime where they run in containers. When it dies
itself, the kernel kills its ranks.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from motley.trainer.contract.spec import Member, Spec
from motley.trainer.contract.wire import RunState
from motley.trainer.health.job_warning import JobWarning
from motley.trainer.host import processes
from motley.trainer.host.exit_codes import Exit
from motley.trainer.host.journal import Journal
from motley.trainer.host.paths import read_json
from motley.trainer.host.session_mark import is_session
from motley.trainer.supervisor import task_or_script
from motley.trainer.supervisor.child import Child, pids
from motley.trainer.supervisor.child_end import LIVED_S, how_it_ended, is_root_cause, pause_before_restart, state_by
from motley.trainer.supervisor.coordinator_process import CoordinatorProcess
from motley.trainer.supervisor.duty_cycle import DutyCycle
from motley.trainer.supervisor.forkserver_client import ForkserverClient
from motley.trainer.supervisor.oom_kills import oom_kills
from motley.trainer.supervisor.output_files import OutputFile
from motley.trainer.supervisor.start_ranks import RankStarter
from motley.trainer.supervisor.state_file import StateFile, ranks
from motley.trainer.supervisor.successor import Successor

if TYPE_CHECKING:
    from motley.trainer.supervisor.script_readings import ScriptReadings

TICK_S = 0.1
BEAT_S = 1.0
PEERS_S = 5.0  # after a rank failed, its neighbours on this host have this long to end by themselves
CHILDREN_S = 0.5  # what ranks have left behind has this long to end by itself
DRAIN_S = 1.0  # for what is left in the pipes of processes that have ended
FOLLOWED_S = 30.0  # after the last rank here, a run that was announced has this long to be asked for
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
        forks: ForkserverClient | None = None,
    ) -> None:
        """`anew`: the run goes on already; the ranks here come back to it. `forks`: what the run before it had."""
        self.spec = spec
        self.folder = folder
        self.state: RunState = "starting"
        self.kept: ForkserverClient | None = None  # for the run that follows this one, when it was asked for
        self._received = received
        self._listener = listener
        self._forks = forks
        self._anew = anew
        self._journal = Journal(folder, host=spec.host, source="supervisor")
        self._readings: ScriptReadings | None = None
        if spec.script is not None:
            from motley.trainer.supervisor.script_readings import ScriptReadings  # its patterns take time to compile

            self._readings = ScriptReadings(folder, spec.host, self._journal)
        self._coordinator = CoordinatorProcess(spec, folder, self._journal, lambda fd: self._starter.coordinator(fd))
        self._selector = selectors.DefaultSelector()
        self._ranks: list[Child] = []
        self._stop_asked = False
        self._left = 0
        self._oom_kills = oom_kills()
        self._told: set[str] = set()  # troubles with outputs
        self._cause: str | None = None  # of a run that was lost here
        self._beat_due = 0.0
        self._over_at: float | None = None  # when the last rank here had ended
        self._told_state = StateFile(spec, folder)
        self._duty = DutyCycle(task_or_script.duty(spec), self._scripts)
        self._job_warning = JobWarning(spec, folder, self._journal)

    def run(self, ready: Callable[[], None]) -> RunState:
        """Start everything, call `ready`, and stay until nothing of the run is left here."""
        processes.become_subreaper()
        signal.signal(signal.SIGTERM, self._on_term)
        self._job_warning.heed()
        signal.signal(signal.SIGCHLD, lambda *_: None)  # wakes the selector
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(writer)
        self._selector.register(reader, selectors.EVENT_READ, None)
        self._starter = RankStarter(
            self.spec, self.folder, received=self._received, forks=self._forks,
            watch=lambda output: self._selector.register(output.pipe, selectors.EVENT_READ, output),
        )  # fmt: skip
        if self._starter.forks is not None:
            self._selector.register(self._starter.forks.control, selectors.EVENT_READ, self._starter)
        if self._listener is not None:
            self._coordinator.start(self._listener)
        for member in self.spec.local_members:
            self._ranks.append(self._rank(member, anew=self._anew))
        self._set_state("running")
        text = f"{len(self._ranks)} rank{'s' * (len(self._ranks) != 1)} started"
        self._journal.write("started", text, ranks=len(self._ranks), pid=os.getpid())
        ready()
        self._duty.start()
        failed_at: float | None = None
        while not self._stop_asked and (self._at_work() or self._may_be_followed()):
            self._wait(BEAT_S if failed_at is None else TICK_S)  # output, a signal or a child's end wakes it
            self._start_again()
            self._coordinator.look_who_leads()
            self._stop_asked |= self._job_warning.ends_run(leads=self._coordinator.lives)
            if failed_at is None and self._failing():
                failed_at = time.monotonic()
            if failed_at is not None and time.monotonic() - failed_at > PEERS_S:
                break
        self._duty.stop()
        state = self._finish()
        if self._readings is not None:
            self._readings.close()
        self._journal.write(
            "ended", f"{state}, {self._left} processes left", "info" if not self._left else "error",
            state=state, left=self._left,
        )  # fmt: skip
        self._set_state(state)  # last: who follows the run is sent what was written before, and then nothing more
        signal.set_wakeup_fd(-1)
        self._selector.close()
        os.close(reader)
        os.close(writer)
        return state

    def _at_work(self) -> bool:
        """Ranks, those that are about to be started again, or the coordinator of ranks elsewhere."""
        return self._coordinator.lives or any(c.code is None or c.again_at is not None for c in self._ranks)

    def _may_be_followed(self) -> bool:
        """A run is announced, and may be asked for when all is over here: another host was told first."""
        self._over_at = self._over_at or time.monotonic()
        return time.monotonic() - self._over_at < FOLLOWED_S and Successor(self.folder).may_come()

    def _rank(self, member: Member, *, anew: bool) -> Child:
        child = self._starter.rank(member, anew=anew)
        if self._readings is not None:
            self._readings.watch(child)
        return child

    def _start_again(self) -> None:
        """Ranks that were killed come back as newcomers, after a pause that grows; the others train meanwhile."""
        now = time.monotonic()
        for i, child in enumerate(self._ranks):
            if child.again_at is not None and now >= child.again_at and child.member is not None:
                again = self._rank(child.member, anew=True)
                again.started = child.started + 1
                self._ranks[i] = again

    def _finish(self) -> RunState:
        """End what still runs, wait for the coordinator's summary, sweep, and say how it ended."""
        stopping = self._stop_asked
        if stopping:
            reason = read_json(self.folder / "stop.json").get("reason")
            self._journal.write("stopping", f"stopping: {reason or 'asked to'}", reason=reason)
        if stopping and Successor(self.folder).is_asked_for():
            self._wait_while(self._starter.is_forking, self.spec.options.stop_grace_s)
            self.kept = self._starter.keep()
        if self.kept is None:
            self._starter.end()
        keep = [self.kept.pid] if self.kept is not None else []
        processes.send(pids(self._ranks), signal.SIGTERM)
        self._wait_while(lambda: any(c.code is None for c in self._ranks), self.spec.options.stop_grace_s)
        coordinator = self._coordinator.child
        besides = [*keep, *pids([coordinator])]
        processes.end(self.folder, grace_s=CHILDREN_S, besides=besides, under=os.getpid(), wait=self._wait)
        if coordinator and coordinator.code is None:
            if stopping:
                processes.send(pids([coordinator]), signal.SIGTERM)
            self._wait_while(lambda: coordinator.code is None, COORDINATOR_S)
        self._left = processes.end(self.folder, grace_s=0.0, besides=keep, under=os.getpid(), wait=self._wait)
        self._left += self._end_containers()
        self._wait_while(lambda: not all(child.output.closed for child in self._ranks), DRAIN_S)
        if stopping:
            return "stopped"
        state = state_by({c.code for c in self._ranks}, read_json(self.folder / "summary.json").get("state"))
        if state == "lost":
            held = (self.folder / "checkpoints" / "held.pt").exists()
            goes_on = f": motley run --resume {self.spec.run} goes on from checkpoints/held.pt" if held else ""
            self._cause = f"the run's leader was not to be reached for {self.spec.elastic.hold_s:.0f} s{goes_on}"
        return state

    def _end_containers(self) -> int:
        if self.spec.container is None:
            return 0
        from motley.trainer.supervisor import containers

        return containers.end_of_run(
            self.spec.container, self.folder, wait=self._wait,
            settle_s=containers.SETTLE_S if any(c.cut_short for c in self._ranks) else 0.0,
            tell=lambda text: self._journal.write("note", text, "error"),
        )  # fmt: skip

    def _failing(self) -> bool:
        """A rank has failed, or the coordinator has ended the run because it lost one."""
        coordinator = self._coordinator.child
        given_up = coordinator is not None and coordinator.code == 0
        return given_up or any(c.code not in (None, 0) and c.again_at is None for c in self._ranks)

    def _wait_while(self, condition: Callable[[], bool], bound_s: float) -> None:
        deadline = time.monotonic() + bound_s
        while condition() and time.monotonic() < deadline:
            self._wait(TICK_S)

    def _wait(self, seconds: float) -> None:
        """Wait for something to happen, at most so long; keep output, reap children, show a sign of life."""
        for key, _ in self._selector.select(seconds):
            if isinstance(key.data, OutputFile):
                self._drain(key.data)
            elif isinstance(key.data, RankStarter):
                self._hear(key.data)
            else:
                os.read(key.fd, 4096)
        if self._readings is not None:
            self._readings.keep()
        self._reap()
        if time.monotonic() >= self._beat_due:
            self._set_state(self.state)

    def _hear(self, starter: RankStarter) -> None:
        control = starter.forks.control if starter.forks is not None else None
        for child in starter.hear():
            self._report_end(child)
        self._set_state(self.state)  # with the new pids
        if control is not None and starter.forks is None:
            self._selector.unregister(control)

    def _drain(self, output: OutputFile) -> None:
        if output.trouble and output.trouble not in self._told:
            self._told.add(output.trouble)
            self._journal.write("note", output.trouble, "warning")
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
            known = (*self._ranks, self._coordinator.child)
            child = next((child for child in known if child and child.pid == pid and child.code is None), None)
            if child is None:
                self._starter.reaped(pid, status)
                continue
            child.ended(status)
            self._report_end(child)

    def _report_end(self, child: Child) -> None:
        code = child.code
        if code in (None, 0, Exit.STOPPED) or self._stop_asked:
            return
        self._drain(child.output)
        starved = oom_kills() - self._oom_kills
        how = how_it_ended(code, starved=starved > 0)
        if child.member is None:
            self._coordinator.ended(child, code, how)
            return
        if time.monotonic() - child.began > LIVED_S:
            child.started = 1
        pause_s = pause_before_restart(code, started=child.started)
        if pause_s is not None:
            child.again_at = time.monotonic() + pause_s
            self._journal.write(
                "rank_killed", f"rank {child.member.member}: {how}; it is started again in {pause_s:g} s", "warning",
                member=child.member.member, code=code, oom_kills=starved,
            )  # fmt: skip
            return
        cause = is_root_cause(code)
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
        forks = self._starter.forks.pid if self._starter.forks is not None else None
        now = {"state": state, "forks": forks, "left": self._left, "cause": self._cause, "ranks": ranks(self._ranks)}
        try:
            self._told_state.write(now)
        except OSError as error:
            if changed:
                os.write(2, f"state not written: {error}\n".encode())

    def _scripts(self) -> dict[int, int]:
        """The scripts, with the start time of each: children of the processes that started them, which reap them.
        Once they are sessions they slow themselves, as ranks of a task do."""
        if is_session(self.folder):
            return {}
        return {pid: start for parent in pids(self._ranks) for pid, start in processes.started_by(parent).items()}

    def _on_term(self, *_: object) -> None:
        self._stop_asked = True

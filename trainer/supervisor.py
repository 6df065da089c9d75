"""Owns the processes of one run on one host. Standard library only; it never imports torch.

`python -m trainer supervise` reads a `Spec` on standard input, detaches itself from the SSH session that started it
and answers one line. From then on SSH is only a viewer: the supervisor starts the ranks (and the coordinator, on the
leader), keeps their output, says in `state.json` and `events.jsonl` how they are, and ends when they have ended.
A TERM signal to it is the request to stop the run here: ranks are asked (TERM; rank 0 writes a checkpoint), given
`stop_grace_s`, then killed until /proc shows none. When it dies itself, the kernel kills its ranks.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer import environment, processes
from trainer.emulation import DutyCycle
from trainer.exits import Exit
from trainer.folders import read_json, write_json
from trainer.journal import Journal
from trainer.output import Output
from trainer.spec import Member, Spec
from trainer.wire import RunState

TICK_S = 0.1
BEAT_S = 1.0
PEERS_S = 5.0  # after a rank failed, its neighbours on this host have this long to end by themselves
CHILDREN_S = 0.5  # what ranks have left behind has this long to end by itself
COORDINATOR_S = 5.0  # after the last rank here, the coordinator has this long to write the summary


@dataclass(slots=True)
class Child:
    """A process we started. `code` is None while it lives; negative when a signal ended it."""

    process: subprocess.Popen[bytes]
    output: Output
    start: int | None
    member: Member | None = None
    code: int | None = None


class Supervisor:
    """One run on one host, from the first fork to the last. `run()` returns its end state."""

    def __init__(self, spec: Spec, folder: Path, *, received: float, listener: socket.socket | None) -> None:
        self.spec = spec
        self.folder = folder
        self.state: RunState = "starting"
        self._received = received
        self._listener = listener
        self._journal = Journal(folder, host=spec.host, source="supervisor")
        self._selector = selectors.DefaultSelector()
        self._ranks: list[Child] = []
        self._coordinator: Child | None = None
        self._stop_asked = False
        self._left = 0
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
        if self._listener is not None:
            self._coordinator = self._start("coordinator", "coordinate", None, self._listener.fileno())
            self._listener.close()
        for member in self.spec.local_members:
            self._ranks.append(self._start(f"rank_{member.member}", "rank", member))
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
        while not self._stop_asked and any(c.code is None for c in self._ranks):
            self._wait(BEAT_S if failed_at is None else TICK_S)  # output, a signal or a child's end wakes it
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
        return state

    def _start(self, name: str, verb: str, member: Member | None, *descriptors: int) -> Child:
        """Fork and exec `python -m trainer VERB` with its output into our files. Called from the main thread only."""
        arguments = [sys.executable, "-m", "trainer", verb, "--run", self.spec.run, "--host", self.spec.host]
        if member is not None:
            arguments += ["--member", str(member.member)]
        for descriptor in descriptors:
            arguments += ["--listen-fd", str(descriptor)]
        reader, writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(reader, False)
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            env=self._environment(member),
            start_new_session=True,
            pass_fds=descriptors,
            preexec_fn=processes.die_with(os.getpid()),
        )
        os.close(writer)
        output = Output(self.folder, name, reader)
        self._selector.register(reader, selectors.EVENT_READ, output)
        return Child(process=process, output=output, start=processes.start_ticks(process.pid), member=member)

    def _environment(self, member: Member | None) -> dict[str, str]:
        spec = self.spec
        local, threads = len(spec.local_members), spec.options.threads
        env = environment.of_rank(spec.env, threads=threads, local_ranks=local, emulated=spec.emulated)
        env |= processes.tags(spec.run, spec.host, self.folder)
        env["MOTLEY_SPAWNED"] = repr(self._received)
        env["PYTHONUNBUFFERED"] = "1"
        if member is not None:
            env["RANK"] = str(member.member)
            env["LOCAL_RANK"] = str(member.local_rank)
            env["WORLD_SIZE"] = str(len(spec.members))
            env["LOCAL_WORLD_SIZE"] = str(local)
        return env

    def _finish(self) -> RunState:
        """End what still runs, wait for the coordinator's summary, sweep, and say how it ended."""
        stopping = self._stop_asked
        if stopping:
            request = read_json(self.folder / "stop.json")
            self._journal.write(
                "stopping", f"stopping: {request.get('reason') or 'asked to'}", reason=request.get("reason")
            )
        processes.send([c.process.pid for c in self._ranks if c.code is None], signal.SIGTERM)
        self._wait_while(lambda: any(c.code is None for c in self._ranks), self.spec.options.stop_grace_s)
        coordinator = self._coordinator
        keep = [coordinator.process.pid] if coordinator and coordinator.code is None else []
        processes.end(self.folder, grace_s=CHILDREN_S, besides=keep, wait=self._wait)
        if coordinator and keep:
            if stopping:
                processes.send(keep, signal.SIGTERM)
            self._wait_while(lambda: coordinator.code is None, COORDINATOR_S)
        self._left = processes.end(self.folder, grace_s=0.0, wait=self._wait)
        self._wait(0.0)
        if stopping:
            return "stopped"
        return "finished" if all(c.code == 0 for c in self._ranks) else "failed"

    def _failing(self) -> bool:
        """A rank has failed, or the coordinator has ended the run because it lost one."""
        given_up = self._coordinator is not None and self._coordinator.code == 0
        return given_up or any(c.code not in (None, 0) for c in self._ranks)

    def _wait_while(self, condition: Callable[[], bool], bound_s: float) -> None:
        deadline = time.monotonic() + bound_s
        while condition() and time.monotonic() < deadline:
            self._wait(TICK_S)

    def _wait(self, seconds: float) -> None:
        """Wait for something to happen, at most so long; keep output, reap children, show a sign of life."""
        for key, _ in self._selector.select(seconds):
            if isinstance(key.data, Output):
                self._drain(key.data)
            else:
                os.read(key.fd, 4096)
        self._reap()
        if time.monotonic() >= self._beat_due:
            self._set_state(self.state)

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
            for child in (*self._ranks, *([self._coordinator] if self._coordinator else [])):
                if child.process.pid == pid:
                    child.code = child.process.returncode = os.waitstatus_to_exitcode(status)
                    self._report_end(child)

    def _report_end(self, child: Child) -> None:
        code = child.code
        if code == 0 or self._stop_asked:
            return
        self._drain(child.output)
        killed = code is not None and code < 0
        how = f"ended by signal {-(code or 0)}" if killed else f"exit code {code}"
        if child.member is None:
            self._journal.write("note", f"the coordinator {how}: {child.output.tail()}", "error")
            return
        cause = code not in (Exit.PEER_LOST, Exit.GAVE_UP)
        self._journal.write(
            "rank_failed",
            f"rank {child.member.member}: {how}" if cause else f"rank {child.member.member} ended after the others",
            "error" if cause else "warning",
            member=child.member.member, code=code, root_cause=cause, traceback="" if killed else child.output.tail(),
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
            "time": time.time(),
            "left": self._left,
            "ranks": [
                {"member": c.member.member, "pid": c.process.pid, "start": c.start, "code": c.code}
                for c in self._ranks
                if c.member is not None
            ],
        }

    def _training_pids(self) -> list[int]:
        """Ranks that have completed a step: those the emulation slows down."""
        return [
            c.process.pid
            for c in self._ranks
            if c.code is None and c.member is not None and self._has_trained(c.member.member)
        ]

    def _has_trained(self, member: int) -> bool:
        try:
            return (self.folder / f"rank_{member}.jsonl").stat().st_size > 0
        except FileNotFoundError:
            return False

    def _on_term(self, *_: object) -> None:
        self._stop_asked = True
